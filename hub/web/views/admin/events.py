"""The audit log of the site, filtered, and as a file."""

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub import access
from hub.http.event_exports import check_format, export_response
from hub.http.event_filters import FILTERS, read_filters
from hub.queries import administration as queries
from hub.services.administration import record_export
from hub.web.forms.refusal import Refused, refusal_of
from hub.web.paging import page


@require_safe
def events(request: HttpRequest) -> HttpResponse:
    """What happened, newest first; a filter that can't be read is told above the form."""
    viewer, refused = access.viewer_of(request), Refused()
    access.require_site_admin(viewer)
    rows, following = [], ""
    with refusal_of(refused):
        rows, following = page(request, queries.all_events(viewer, read_filters(request.GET)), ("-id",))
    given = {name: request.GET.get(name, "") for name in FILTERS}
    query = request.GET.copy()
    query.pop("cursor", None)
    context = {"events": rows, "next": following, "given": given, "refused": refused, "query": query.urlencode()}
    return render(request, "admin/events.html", context | {"section": "events"}, status=refused.status)


@require_safe
def export(request: HttpRequest) -> HttpResponseBase:
    """The same events as CSV or JSON lines; the export is itself an event."""
    viewer, form = access.viewer_of(request), check_format(request.GET.get("format", ""))
    filters = read_filters(request.GET)
    found = queries.all_events(viewer, filters)
    if request.method == "GET":
        record_export(actor=viewer.user, form=form, filters={name: str(value) for name, value in filters.items()})
    return export_response(request, found, form)
