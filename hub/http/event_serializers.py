"""How audit events are shown. What an admin may not see of them is left out.

An event may be about a job that only its owner watches, or a measurement on a hidden dataset. Of these only the
verb and the time are shown, not the actor or any detail.
"""

import re
from collections.abc import Sequence

from rest_framework import serializers

from hub import access, queries
from hub.http.job_serializers import HIDDEN
from hub.models import Event
from hub.names import worker_name

JOB = re.compile(r"job ([0-9]{1,18})")


class EventSight:
    """What one viewer may see of some events; two queries for all of them."""

    def __init__(self, viewer: access.Viewer, events: Sequence[Event]) -> None:
        self.watched = queries.watched(viewer, filter(None, map(job_of, events)))
        self.named = queries.datasets_seen(viewer, filter(None, map(dataset_of, events)))

    def object(self, event: Event) -> str:
        """What the event is about."""
        return HIDDEN if self._hides_job(event) else event.object

    def hides(self, event: Event) -> bool:
        """True where actor and detail are not for this viewer."""
        dataset = dataset_of(event)
        return self._hides_job(event) or (dataset is not None and dataset not in self.named)

    def _hides_job(self, event: Event) -> bool:
        job = job_of(event)
        return job is not None and job not in self.watched


class EventShape(serializers.ModelSerializer):
    """An audit event; `verb` is a stable word such as publish, member.set, job.done."""

    object = serializers.SerializerMethodField(help_text="what it is about: a path, path@v1, job 7, or (hidden)")
    actor = serializers.SerializerMethodField(help_text="null where a worker acted, or where it is hidden")
    namespace = serializers.CharField(source="namespace.name", default=None, allow_null=True)
    repository = serializers.CharField(
        source="repository.path", default=None, allow_null=True, help_text="ns/name, or datasets/ns/name"
    )
    detail = serializers.SerializerMethodField(help_text="by verb; {} where it is hidden")

    class Meta:
        model = Event
        fields = ("id", "created_at", "actor", "verb", "object", "namespace", "repository", "detail")

    def get_object(self, event) -> str:
        return self.context["sight"].object(event)

    def get_actor(self, event) -> str | None:
        name = event.actor.username if event.actor else event.actor_name
        return None if self.context["sight"].hides(event) else name

    def get_detail(self, event) -> dict:
        if self.context["sight"].hides(event):
            return {}
        worker = event.detail.get("worker")
        return event.detail | {"worker": worker_name(worker)} if isinstance(worker, str) else event.detail


def show_events(viewer: access.Viewer, events: Sequence[Event]) -> list[dict]:
    """Events as JSON for this viewer."""
    return EventShape(events, many=True, context={"sight": EventSight(viewer, events)}).data


def job_of(event: Event) -> int | None:
    """The id of the job an event is about."""
    found = JOB.fullmatch(event.object) if event.verb.startswith("job.") else None
    return found and int(found[1])


def dataset_of(event: Event) -> str | None:
    """The path of the dataset an event names, in old events without `datasets/`."""
    dataset = event.detail.get("dataset")
    return dataset.partition("@")[0] if isinstance(dataset, str) else None
