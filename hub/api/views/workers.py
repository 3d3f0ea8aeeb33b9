"""The workers of the last day: queues, device, bases, and whether they are alive."""

from drf_spectacular.utils import extend_schema

from hub import queries
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import READS, View
from hub.http.worker_serializers import WorkerShape, show_workers


class Workers(View):
    """All workers of the last day, for any signed-in user; administrators of the site also see their hosts."""

    within_limit = READS

    @extend_schema(operation_id="workers_list", tags=["workers"], responses=paged(WorkerShape))
    def get(self, request):
        self.actor()
        return page(request, queries.workers(), ("-seen_at", "-id"), lambda rows: show_workers(self.viewer, rows))
