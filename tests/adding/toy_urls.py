"""The site's routes with the toy page's among them. Import it while the toy page is laid over the tree."""

from django.urls import include, path

from hub.urls import handler400, handler403, handler404, handler500
from hub.urls import urlpatterns as site
from hub.web.urls import HERE
from hub.web.views import family

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

ROUTE = f"{HERE}/family"
pages = [path(ROUTE, family.family, name="family")]
urlpatterns = [path("", include(pages)), *site]
