"""How evaluations and jobs are shown, by the API and by the pages.

The names of inputs that a job's watcher may not see are left out, also from sentences that name them.
"""

import json
import re
from collections.abc import Container, Iterable, Sequence

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from hub import access, queries
from hub.models import Evaluation, Job, JobFile, JobInput, JobLog, Repository
from hub.names import DATASETS, worker_name
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.waiting import waiting_for

HIDDEN = "(hidden)"


class EvaluationShape(serializers.ModelSerializer):
    """Metrics with the data, base, device and time behind them."""

    dataset = serializers.CharField(source="dataset.__str__", help_text="datasets/ns/name@v1")
    base = serializers.CharField(source="base.name")
    created_by = serializers.CharField(source="created_by.username", default=None, allow_null=True)

    class Meta:
        model = Evaluation
        fields = ("id", "dataset", "dataset_digest", "split", "base", "metrics", "rows", "recipe", "environment")
        fields += ("device", "seconds", "job", "created_by", "created_at")


def _hidden_names(repositories: Iterable[Repository], seen: Container[int]) -> set[str]:
    """How texts call those of the repositories that are not seen; a dataset's had no `datasets/` in older ones."""
    hidden = {name for row in repositories if row.pk not in seen for name in (row.path, row.full_name)}
    return hidden - {row.path for row in repositories if row.pk in seen}


class Sight:
    """What one viewer may see of some jobs' inputs and results; two queries for all of them."""

    def __init__(self, viewer: access.Viewer, jobs: Sequence[Job]) -> None:
        self.user = viewer.user
        versions = [row.version for job in jobs for row in job.inputs.all()]
        versions += [job.result for job in jobs if job.result]
        self.seen = queries.seen(viewer, [version.repository_id for version in versions])
        self.hidden = _hidden_names([version.repository for version in versions], self.seen)
        self._waiting: dict[tuple, str] = {}
        self._words: dict[int, dict[str, str]] = {}

    def name(self, version) -> str:
        """`ns/name@v1`, or the one word for what is hidden."""
        return str(version) if version.repository_id in self.seen else HIDDEN

    def tell(self, job: Job, text: str) -> str:
        """A sentence about a job: its private inputs by name where the viewer sees them, no name of what is hidden."""
        for name in sorted(self.hidden, key=len, reverse=True):
            text = re.sub(rf"(?<!{DATASETS}){re.escape(name)}", HIDDEN, text)
        if queries.HIDDEN_INPUT not in text:
            return text
        if job.pk not in self._words:
            words = queries.input_words(job.inputs.all())
            self._words[job.pk] = {word: str(row.version) for row, word in words if self._sees(row)}
        return queries.named_inputs(text, self._words[job.pk])

    def prepare(self, job: Job) -> None:
        """Ask the database now for what `tell` needs, as the front tells events where no database is asked."""
        self.tell(job, queries.HIDDEN_INPUT)

    def _sees(self, row: JobInput) -> bool:
        return row.version.repository_id in self.seen

    def tell_json(self, job: Job, facts: dict | None) -> dict | None:
        """The same for sentences anywhere in an error's facts or in figures, whose examples are for the job's owner."""
        shown = facts if self.user and job.created_by_id == self.user.pk else queries.without_private(facts)
        return json.loads(self.tell(job, json.dumps(shown, default=str))) if shown else shown

    def outcome(self, job: Job) -> dict | None:
        """What a job answered, with its private inputs by name; where an input can't be seen, what is left then."""
        if job.outcome is None:
            return None
        if all(self._sees(row) for row in job.inputs.all()):
            return self.tell_json(job, job.outcome) if kind_of(job.kind).names_inputs else job.outcome
        return self.tell_json(job, kind_of(job.kind).answer_without_sight(job.outcome))

    def waiting(self, job: Job) -> str | None:
        """What a queued job waits for; asked once for jobs alike."""
        sources = tuple(row.version.base_id for row in job.inputs.all())
        key = (job.state, job.kind, job.base_id, job.created_by_id, sources)
        if key not in self._waiting:
            self._waiting[key] = waiting_for(job)
        return self._waiting[key] or None


class ErrorShape(serializers.Serializer):
    """Why a job failed."""

    code = serializers.CharField()
    message = serializers.CharField()


class JobFileShape(serializers.ModelSerializer):
    """A private input as its owner sees it; `held` until the job is done or the file is removed."""

    held = serializers.SerializerMethodField()

    class Meta:
        model = JobFile
        fields = ("role", "name", "digest", "facts", "held")

    def get_held(self, file) -> bool:
        return file.blob_id is not None


class JobShape(serializers.ModelSerializer):
    """A job."""

    message = serializers.SerializerMethodField()
    worker = serializers.SerializerMethodField(help_text="as GET /workers names it; empty before and between attempts")
    figures = serializers.SerializerMethodField(help_text="what the method reports while it runs")
    waiting_for = serializers.SerializerMethodField(help_text="why no running worker would take it, or null")
    inputs = serializers.SerializerMethodField(help_text="ns/name@v1, or (hidden)")
    datasets = serializers.SerializerMethodField()
    others = serializers.SerializerMethodField(help_text="role → ns/name@v1: generator, onto, without")
    files = serializers.SerializerMethodField(help_text="private inputs; only for the user who started the job")
    base = serializers.CharField(source="base.name", default=None, allow_null=True)
    priority = serializers.CharField(source="get_priority_display", help_text="low, normal, high or urgent")
    output = serializers.SerializerMethodField(help_text="ns/name, also before it is made")
    result = serializers.SerializerMethodField(help_text="ns/name@v1")
    error = serializers.SerializerMethodField()
    evaluation = serializers.SerializerMethodField()
    created_by = serializers.CharField(
        source="created_by.username", default=None, allow_null=True, help_text="null where the account is deleted"
    )

    class Meta:
        model = Job
        fields = ("id", "kind", "state", "progress", "message", "figures", "queue", "priority")
        fields += ("waiting_for", "attempt")
        fields += (
            "worker",
            "recipe",
            "inputs",
            "datasets",
            "others",
            "keep",
            "files",
            "base",
            "output",
            "result",
            "error",
            "environment",
        )
        fields += ("evaluation", "created_at", "started_at", "finished_at", "created_by")

    def get_message(self, job) -> str:
        return self.context["sight"].tell(job, job.message)

    def get_worker(self, job) -> str:
        return worker_name(job.worker)

    def get_figures(self, job) -> dict:
        return self.context["sight"].tell_json(job, job.figures)

    def get_waiting_for(self, job) -> str | None:
        return self.context["sight"].waiting(job)

    def get_inputs(self, job) -> list[str]:
        return self._named(job, "adapter")

    def get_datasets(self, job) -> list[str]:
        return self._named(job, "dataset")

    def get_others(self, job) -> dict[str, str]:
        rows = [row for row in job.inputs.all() if row.role not in ("adapter", "dataset")]
        return {row.role: self.context["sight"].name(row.version) for row in rows}

    @extend_schema_field(JobFileShape(many=True))
    def get_files(self, job) -> list[dict]:
        own = job.created_by_id == (self.context["sight"].user and self.context["sight"].user.pk)
        return JobFileShape(job.files.all(), many=True).data if own else []

    def get_output(self, job) -> str | None:
        return job.output_path or None

    def get_result(self, job) -> str | None:
        return job.result and self.context["sight"].name(job.result)

    @extend_schema_field(ErrorShape(allow_null=True))
    def get_error(self, job) -> dict | None:
        return self.context["sight"].tell_json(job, job.error)

    @extend_schema_field(EvaluationShape(allow_null=True))
    def get_evaluation(self, job) -> dict | None:
        found = getattr(job, "evaluation", None)
        if found is None or found.dataset.repository_id not in self.context["sight"].seen:
            return None
        return EvaluationShape(found).data

    def _named(self, job, role: str) -> list[str]:
        return [self.context["sight"].name(row.version) for row in job.inputs.all() if row.role == role]


class WholeJobShape(JobShape):
    """A job with what it answered."""

    outcome = serializers.SerializerMethodField(
        help_text="what the kind answers, or null; of a trial: {answers: {with, without}: {text, tokens, …}, memory}; "
        "of a comparison of merges: {adapters, pairs, spectrum, clusters, methods, recommended, sentences, …}"
    )

    class Meta(JobShape.Meta):
        fields = (*JobShape.Meta.fields, "outcome")

    @extend_schema_field(serializers.JSONField(allow_null=True))
    def get_outcome(self, job) -> dict | None:
        return self.context["sight"].outcome(job)


class LogShape(serializers.ModelSerializer):
    """A line of the log."""

    text = serializers.SerializerMethodField()

    class Meta:
        model = JobLog
        fields = ("id", "attempt", "at", "text")

    def get_text(self, line) -> str:
        return self.context["sight"].tell(self.context["job"], line.text)


def show(viewer: access.Viewer, jobs: list[Job]) -> list[dict]:
    """Jobs as JSON for this viewer."""
    return JobShape(jobs, many=True, context={"sight": Sight(viewer, jobs)}).data


def show_whole(viewer: access.Viewer, job: Job) -> dict:
    """One job with what it answered."""
    return WholeJobShape(job, context={"sight": Sight(viewer, [job])}).data
