"""The table of contents of what can be asked for."""

from django.urls import include, path

from hub.hf.urls import bare
from hub.http import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("api/v1/", include("hub.api.urls")),
    path("", include("hub.hf.urls")),
    path("", include("hub.web.urls")),
    path("", include(bare)),
]

handler400 = "hub.web.views.errors.bad_request"
handler403 = "hub.web.views.errors.forbidden"
handler404 = "hub.web.views.errors.not_found"
handler500 = "hub.web.views.errors.server_error"
