"""The WSGI application."""

import os

from django.core.wsgi import get_wsgi_application

from hub.charset import Utf8Request

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
application = get_wsgi_application()
application.request_class = Utf8Request
