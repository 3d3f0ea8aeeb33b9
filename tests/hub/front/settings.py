"""The settings of a hub that tests start as a server of its own, over their own database."""

from hub.settings import *  # noqa: F403
from hub.settings import STORAGES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
