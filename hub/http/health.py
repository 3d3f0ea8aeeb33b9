"""For what watches the hub: `/healthz` (the process answers), `/readyz` (it can serve), `/metrics` (Prometheus).

They tell no names and no contents. `/metrics` is for administrators, and for who sends `HUB_METRICS_TOKEN`.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from rest_framework.exceptions import AuthenticationFailed

from hub import access
from hub.access.limits import limit_of
from hub.errors import NotFound
from hub.http import metrics as figures
from hub.http.authentication import TokenAuthentication
from hub.queries.health import NEEDED, OK, health


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process answers; nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 where pages and pushes work, else 503; with the state of each part."""
    parts = health()
    ready = all(parts[name] == OK for name in NEEDED)
    return JsonResponse({"ready": ready, **parts}, status=200 if ready else 503)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """The figures, for administrators and Prometheus; for everyone else there is nothing here."""
    if not _may_see(request):
        raise NotFound("There is nothing here that you can see. Administrators see it, and HUB_METRICS_TOKEN does.")
    return HttpResponse(figures.page(), content_type="text/plain; version=0.0.4; charset=utf-8")


def _may_see(request: HttpRequest) -> bool:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if not secret:
        return access.viewer_of(request).is_site_admin
    if scheme.lower() == "bearer" and settings.METRICS_TOKEN and constant_time_compare(secret, settings.METRICS_TOKEN):
        return True
    try:
        found = TokenAuthentication().authenticate(request)
    except AuthenticationFailed:
        return False
    if found is None:
        return False
    user, token = found
    viewer = access.Viewer(user=user, scopes=frozenset(token.scopes), limit=limit_of(token))
    return viewer.is_site_admin
