"""The workers of the last day: queues, device, bases, and whether they are alive."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from hub import queries
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import READS, View
from hub.models import WorkerNode


class WorkerShape(serializers.ModelSerializer):
    """A worker as it last described itself."""

    bases = serializers.SerializerMethodField(help_text="names of the bases whose weights it can find")
    loaded = serializers.SerializerMethodField(help_text="names of the bases in its memory")
    busy = serializers.SerializerMethodField()
    alive = serializers.SerializerMethodField(help_text="heard of within three leases")

    class Meta:
        model = WorkerNode
        fields = (
            "name",
            "queues",
            "device",
            "bases",
            "loaded",
            "model_bytes",
            "environment",
            "busy",
            "alive",
            "started_at",
        )
        fields += ("seen_at",)

    def get_bases(self, worker) -> list[str]:
        return self._named(worker.bases)

    def get_loaded(self, worker) -> list[str]:
        return self._named(worker.loaded)

    def get_busy(self, worker) -> bool:
        return worker.current_job_id is not None

    def get_alive(self, worker) -> bool:
        return worker.seen_at >= timezone.now() - timedelta(seconds=3 * settings.JOB_LEASE_SECONDS)

    def _named(self, ids: list) -> list[str]:
        names = self.context["bases"]
        return [names[pk] for pk in ids if pk in names]


class Workers(View):
    """All workers of the last day, for any signed-in user."""

    within_limit = READS

    @extend_schema(operation_id="workers_list", tags=["workers"], responses=paged(WorkerShape))
    def get(self, request):
        self.actor()
        names = dict(queries.bases(self.viewer).values_list("pk", "name"))
        context = {"bases": names}
        order = ("-seen_at", "-id")
        return page(request, queries.workers(), order, lambda rows: WorkerShape(rows, many=True, context=context).data)
