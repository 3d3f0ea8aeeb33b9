"""The audit log of a namespace or a repository, for its admins."""

from drf_spectacular.utils import extend_schema

from hub import access, queries
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import READS, View
from hub.http.event_serializers import EventShape, show_events

TAGS = ["events"]


class NamespaceEvents(View):
    """What happened in a namespace, newest first: members, repositories, jobs."""

    within_limit = READS

    @extend_schema(operation_id="namespaces_events", tags=TAGS, responses=paged(EventShape))
    def get(self, request, namespace):
        found = access.namespace(self.viewer, namespace, "admin")
        return self.listed(request, namespace=found)

    def listed(self, request, **place):
        """A page of the events of one place."""
        found = queries.events(self.viewer, **place)
        return page(request, found, ("-id",), lambda rows: show_events(self.viewer, rows))


class RepositoryEvents(NamespaceEvents):
    """What happened to a repository, newest first."""

    @extend_schema(operation_id="repositories_events", tags=TAGS, responses=paged(EventShape))
    def get(self, request, namespace, name):
        found = access.repository(self.viewer, namespace, name, "admin")
        return self.listed(request, repository=found)
