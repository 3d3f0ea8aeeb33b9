"""The ASGI application: the front of `hub.front` before Django, which stays synchronous."""

import os

from django.core.wsgi import get_wsgi_application

from hub.charset import Utf8Request

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
django_application = get_wsgi_application()
django_application.request_class = Utf8Request

from django.conf import settings  # noqa: E402

from hub import faults  # noqa: E402
from hub.front.application import Front  # noqa: E402
from hub.front.live import Follower  # noqa: E402
from hub.front.routes import route_of  # noqa: E402

application = Front(django_application, settings.FRONT, route_of=route_of, passing=faults.passing)
application.live = Follower(settings.REDIS_URL, application.watching.run)
