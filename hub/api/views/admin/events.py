"""The whole audit log: filtered, and exported as a file."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers

from hub.api.bodies import Body, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.views.admin.view import TAGS, AdminView
from hub.http.event_exports import TYPES, check_format, export_response, row_of
from hub.http.event_filters import read_filters
from hub.queries import administration as queries
from hub.services.administration import record_export

FILE = OpenApiResponse(OpenApiTypes.BINARY, "The events, newest first.")


class EventsQuery(Body):
    """Which events; all that are given must hold."""

    actor = Text(required=False, help_text="user name")
    verb = Text(required=False, help_text="the verb's beginning: job. for all about jobs")
    object = Text(required=False, help_text="as the event has it: ns/name, ns/name@v1, job 7, a user name")
    namespace = Text(required=False)
    repository = Text(required=False, help_text="ns/name, or datasets/ns/name")
    address = Text(required=False, help_text="IP address")
    since = Text(required=False, help_text="a day or a moment, UTC without a zone")
    until = Text(required=False, help_text="the same, that day or moment included")
    limit = Text(required=False)
    cursor = Text(required=False)


class ExportQuery(EventsQuery):
    """The same, as a file."""

    format = serializers.ChoiceField(sorted(TYPES))


class AnyEventShape(serializers.Serializer):
    """An event with nothing left out."""

    id = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    actor = serializers.CharField(allow_null=True)
    verb = serializers.CharField()
    object = serializers.CharField()
    namespace = serializers.CharField(allow_null=True)
    repository = serializers.CharField(allow_null=True)
    address = serializers.CharField(allow_null=True)
    request = serializers.CharField(allow_null=True, help_text="the id of the request, as in the server's log")
    detail = serializers.DictField()


class Events(AdminView):
    """The audit log of the site, newest first."""

    @extend_schema(
        operation_id="admin_events_list", tags=TAGS, parameters=[EventsQuery], responses=paged(AnyEventShape)
    )
    def get(self, request):
        found = queries.all_events(self.viewer, read_filters(self.query(EventsQuery)))
        return page(request, found, ("-id",), lambda rows: [row_of(row) for row in rows])


class Export(AdminView):
    """The audit log as a file, streamed; the export is itself an event."""

    @extend_schema(
        operation_id="admin_events_export",
        tags=TAGS,
        parameters=[ExportQuery],
        responses={(200, content_type): FILE for content_type in TYPES.values()},
    )
    def get(self, request):
        wanted = self.query(ExportQuery)
        form = check_format(wanted["format"])
        filters = read_filters(wanted)
        found = queries.all_events(self.viewer, filters)
        if request.method == "GET":
            record_export(actor=self.actor(), form=form, filters={name: str(value) for name, value in filters.items()})
        return export_response(request._request, found, form)
