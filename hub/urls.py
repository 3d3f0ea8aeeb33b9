"""The table of contents of what can be asked for."""

from django.urls import include, path

urlpatterns = [
    path("api/v1/", include("hub.api.urls")),
    path("", include("hub.web.urls")),
]
