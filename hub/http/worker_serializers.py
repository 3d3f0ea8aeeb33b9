"""How workers are shown, by the API and by the page: to everyone under a name that tells nothing of their machine."""

from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from rest_framework import serializers

from hub import access, queries
from hub.models import WorkerNode, clock
from hub.names import worker_name


class WorkerShape(serializers.ModelSerializer):
    """A worker as it last described itself."""

    name = serializers.SerializerMethodField()
    host = serializers.SerializerMethodField(help_text="machine-pid; null for all but administrators of the site")
    bases = serializers.SerializerMethodField(help_text="names of the bases whose weights it can find")
    loaded = serializers.SerializerMethodField(help_text="names of the bases in its memory")
    busy = serializers.SerializerMethodField()
    alive = serializers.SerializerMethodField(help_text="heard of within three leases")

    class Meta:
        model = WorkerNode
        fields = ("name", "host", "queues", "device", "bases", "loaded", "model_bytes", "environment", "busy", "alive")
        fields += ("started_at", "seen_at", "trouble")

    def get_name(self, worker) -> str:
        return worker_name(worker.name)

    def get_host(self, worker) -> str | None:
        return (worker.host or worker.name) if self.context["viewer"].is_site_admin else None

    def get_bases(self, worker) -> list[str]:
        return self._named(worker.bases)

    def get_loaded(self, worker) -> list[str]:
        return self._named(worker.loaded)

    def get_busy(self, worker) -> bool:
        return worker.current_job_id is not None

    def get_alive(self, worker) -> bool:
        return worker.seen_at >= clock.read() - timedelta(seconds=3 * settings.JOB_LEASE_SECONDS)

    def _named(self, ids: list) -> list[str]:
        names = self.context["bases"]
        return [names[pk] for pk in ids if pk in names]


def show_workers(viewer: access.Viewer, workers: Sequence[WorkerNode]) -> list[dict]:
    """Workers as JSON for this viewer."""
    names = dict(queries.bases(viewer).values_list("pk", "name"))
    return WorkerShape(workers, many=True, context={"viewer": viewer, "bases": names}).data
