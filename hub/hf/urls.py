"""Routes of the Hugging Face Hub protocol. They stand beside /api/v1 and the pages, whose addresses differ."""

from django.urls import include, path, re_path

import hub.http.converters  # noqa: F401  registers name, ref, longref, anypath, number
from hub.hf.view import Unknown
from hub.hf.views import accounts

urlpatterns = [
    path("api/whoami-v2", accounts.WhoAmI.as_view()),
    path("api/agent-harnesses", accounts.Harnesses.as_view()),
    path("api/telemetry/<anypath:rest>", accounts.Telemetry.as_view()),
    path("v1/telemetry", accounts.Telemetry.as_view()),
    path("", include("hub.hf.large_file_urls")),
    # Any other address under /api/.
    re_path(r"^api(?:/[\s\S]*)?$", Unknown.as_view()),
]
