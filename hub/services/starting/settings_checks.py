"""Settings that a process of a larger site needs, and that one machine makes for itself."""

from django.conf import settings

from hub.env import env
from hub.services.starting.refusal import CannotStart


def require_broker() -> None:
    """CannotStart where no broker is named and none runs over this data folder."""
    if env("REDIS_URL") or (settings.HUB_DATA / "valkey" / "url").exists():
        return
    raise CannotStart(
        "REDIS_URL is not set, and no broker runs over this data folder. Give every process of the site the same "
        "REDIS_URL (redis://host:6379/0), or start all on this machine: manage.py up."
    )
