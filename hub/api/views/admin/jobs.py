"""Jobs of all users: what they are and where they stand, never what they were given or made."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub.api.bodies import Body, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.views.admin.view import TAGS, AdminView, ReasonBody
from hub.models import Job, State
from hub.queries import administration as queries
from hub.services import administration


class JobsQuery(Body):
    """Which jobs; empty filters ask for nothing."""

    state = serializers.ChoiceField(State.choices, default="", allow_blank=True)
    kind = Text(max_length=40, default="", allow_blank=True)
    user = Text(max_length=150, default="", allow_blank=True)
    queue = Text(max_length=20, default="", allow_blank=True)
    limit = Text(required=False)
    cursor = Text(required=False)


class AnyJobShape(serializers.ModelSerializer):
    """A job as administrators see it."""

    user = serializers.CharField(source="created_by.username", default=None, allow_null=True)
    output = serializers.SerializerMethodField(help_text="ns/name, also before it is made")
    base = serializers.CharField(source="base.__str__", default=None, allow_null=True)
    error = serializers.SerializerMethodField(help_text="the code alone; the sentence is for the job's owner")
    priority = serializers.CharField(source="get_priority_display")
    stuck = serializers.SerializerMethodField(help_text="its worker has gone silent")

    class Meta:
        model = Job
        fields = ("id", "kind", "state", "queue", "user", "output", "base", "progress", "attempt", "worker", "error")
        fields += ("stuck", "priority", "created_at", "started_at", "finished_at")

    def get_output(self, job) -> str | None:
        return job.output_path or None

    def get_error(self, job) -> str | None:
        return (job.error or {}).get("code")

    def get_stuck(self, job) -> bool:
        return queries.is_stuck(job)


class NodeShape(serializers.Serializer):
    """A worker with its host and its job; null where it is idle."""

    name = serializers.CharField(source="worker.name")
    host = serializers.CharField()
    queues = serializers.ListField(source="worker.queues")
    device = serializers.CharField(source="worker.device")
    model_bytes = serializers.IntegerField(source="worker.model_bytes", help_text="memory for bases; 0: not said")
    environment = serializers.DictField(source="worker.environment")
    job = AnyJobShape(allow_null=True)
    alive = serializers.BooleanField(help_text="heard of within three leases")
    stuck = serializers.BooleanField(help_text="it holds a job and has gone silent")
    started_at = serializers.DateTimeField(source="worker.started_at")
    seen_at = serializers.DateTimeField(source="worker.seen_at")


class Jobs(AdminView):
    """Jobs of all users, newest first."""

    @extend_schema(operation_id="admin_jobs_list", tags=TAGS, parameters=[JobsQuery], responses=paged(AnyJobShape))
    def get(self, request):
        wanted = self.query(JobsQuery)
        found = queries.all_jobs(self.viewer, **{name: wanted[name] for name in ("state", "kind", "user", "queue")})
        return page(request, found, ("-id",), lambda rows: AnyJobShape(rows, many=True).data)


class CancelJob(AdminView):
    """Cancel anybody's job."""

    @extend_schema(operation_id="admin_jobs_cancel", tags=TAGS, request=ReasonBody, responses=AnyJobShape)
    def post(self, request, pk):
        job = queries.any_job(self.viewer, pk)
        administration.cancel_any_job(actor=self.actor(), job=job, **self.read(ReasonBody))
        return Response(AnyJobShape(queries.any_job(self.viewer, pk)).data)


class AnyPriorityBody(ReasonBody):
    """Which jobs come first."""

    priority = Text(max_length=20, help_text="low, normal, high, or urgent: before everyone's")


class SetPriority(AdminView):
    """Give anybody's job a priority."""

    little = frozenset({"POST"})

    @extend_schema(operation_id="admin_jobs_priority", tags=TAGS, request=AnyPriorityBody, responses=AnyJobShape)
    def post(self, request, pk):
        job = queries.any_job(self.viewer, pk)
        administration.set_any_priority(actor=self.actor(), job=job, **self.read(AnyPriorityBody))
        return Response(AnyJobShape(queries.any_job(self.viewer, pk)).data)


class Workers(AdminView):
    """Workers of the last day with their hosts and what they do."""

    @extend_schema(operation_id="admin_workers_list", tags=TAGS, responses=paged(NodeShape))
    def get(self, request):
        found, order = queries.all_workers(self.viewer), ("-seen_at", "-id")
        return page(request, found, order, lambda rows: NodeShape(map(queries.node_of, rows), many=True).data)
