"""Jobs: checking a request, starting it, watching, cancelling and retrying the job."""

from functools import partial

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Object, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import READS, View
from hub.errors import Invalid
from hub.http.job_serializers import JobShape, LogShape, Sight, WholeJobShape, show, show_whole
from hub.http.live_events import END, LiveEvents, Watch
from hub.models import Priority, State, Visibility
from hub.services.jobs import queue
from hub.services.jobs.kinds import roles
from hub.services.jobs.report import check_job
from hub.services.jobs.request import JobRequest, named_request
from hub.services.recipes import own

TAGS = ["jobs"]
KEY = OpenApiParameter(
    "Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER, description="the same key and body: the same job"
)
PRIORITIES = "low, normal or high among your own jobs; administrators of the site: urgent, before everyone's"
VERSION_NAME = "ns/name@v1 or ns/name@tag; without @ the newest"


class JobBody(Body):
    """What to do: a method's recipe, the versions it takes, where the result goes."""

    kind = Text(max_length=40, help_text="one of GET /methods")
    recipe = Object(default=dict)
    inputs = serializers.ListField(child=Text(max_length=400, help_text=VERSION_NAME), default=list, max_length=200)
    datasets = serializers.ListField(child=Text(max_length=400), default=list, max_length=200)
    base = Text(max_length=300, default=None, allow_null=True)
    output = Text(max_length=200, default=None, allow_null=True, help_text="ns/name")
    files = Object(
        default=dict,
        help_text='private inputs by role: JSONL text, or {"companion": name}; context: text, or documents '
        '{"name", "text" or "base64"}',
    )
    keep = serializers.ListField(child=Text(max_length=40), default=list, max_length=10, help_text="context, state")
    visibility = serializers.ChoiceField(Visibility.choices, default=None, allow_null=True)
    priority = Text(max_length=20, default=Priority.NORMAL.label, help_text=PRIORITIES)

    def get_fields(self) -> dict:
        """With a field for each input that has a role of its own."""
        own = {"max_length": 400, "default": None, "allow_null": True}
        return super().get_fields() | {role.name: Text(**own, help_text=role.help) for role in roles()}


class PriorityBody(Body):
    """Which of my own jobs comes first."""

    priority = Text(max_length=20, help_text=PRIORITIES)


class StateQuery(Body):
    """Which jobs."""

    state = serializers.ChoiceField(State.choices, required=False)
    cursor = Text(max_length=2000, required=False)
    limit = Text(max_length=10, required=False)


class FitShape(serializers.Serializer):
    """Whether an input fits beside the first."""

    name = serializers.CharField()
    fits = serializers.BooleanField()
    reason = serializers.CharField(allow_blank=True)


class BecomesShape(serializers.Serializer):
    """The version that a result would be."""

    name = serializers.CharField(help_text="ns/name@v3")
    new = serializers.BooleanField(help_text="whether its repository is new")


class CheckShape(serializers.Serializer):
    """What a job would run into, make and cost; estimates are null where there is a problem."""

    ok = serializers.BooleanField()
    problems = serializers.ListField(child=serializers.JSONField(), help_text="{code, message, …facts}")
    inputs = FitShape(many=True)
    ranks = serializers.JSONField(allow_null=True, help_text="module → rank of the result")
    rank = serializers.IntegerField(allow_null=True)
    bytes = serializers.IntegerField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True)
    memory = serializers.IntegerField(allow_null=True)
    licence = serializers.CharField(allow_null=True)
    licence_conflicts = serializers.ListField(child=serializers.CharField())
    visibility = serializers.CharField()
    workers = serializers.ListField(child=serializers.CharField())
    waiting_for = serializers.CharField(allow_blank=True)
    becomes = BecomesShape(allow_null=True)
    files = serializers.ListField(child=serializers.JSONField(), help_text="{role, name, …facts} of private inputs")
    notes = serializers.ListField(child=serializers.CharField())
    shortcuts = serializers.ListField(
        child=serializers.JSONField(), help_text="{kind, label, reason} of shorter ways to the same base"
    )


class JobView(View):
    """What the views here share: the request's names turned into objects the viewer may see."""

    within_limit = (*READS, "POST")

    def asked(self) -> JobRequest:
        """What the body asks for; what can't be seen is 404."""
        self.actor()
        body = self.read(JobBody)
        named = {role.name: body.pop(role.name) for role in roles()}
        return named_request(self.viewer, **body, roles=named)

    def shown(self, pk: int) -> dict:
        """The job as its viewer sees it now."""
        return show_whole(self.viewer, access.job(self.viewer, pk))


class Jobs(JobView):
    """My jobs and those of my namespaces; asking for one."""

    @extend_schema(operation_id="jobs_list", tags=TAGS, parameters=[StateQuery], responses=paged(JobShape))
    def get(self, request):
        found = queries.jobs(self.viewer, self.query(StateQuery).get("state", ""))
        return page(request, found, ("-id",), lambda rows: show(self.viewer, rows))

    @extend_schema(
        operation_id="jobs_create",
        tags=TAGS,
        parameters=[KEY],
        request=JobBody,
        responses={201: WholeJobShape, 200: OpenApiResponse(WholeJobShape, "The job that this key started before.")},
    )
    def post(self, request):
        asked, key = self.asked(), idempotency_key(request)
        known = queries.job_of_key(self.viewer, key)
        job = queue.queue_job(actor=self.viewer, request=asked, idempotency_key=key)
        return Response(self.shown(job.pk), status=200 if known else 201)


class Check(JobView):
    """The dry run: nothing is queued."""

    scopes = {"POST": "read"}
    little = frozenset({"POST"})

    @extend_schema(operation_id="jobs_check", tags=TAGS, request=JobBody, responses=CheckShape)
    def post(self, request):
        return Response(check_job(actor=self.viewer, request=self.asked()))


class OneJob(JobView):
    """One job."""

    @extend_schema(operation_id="jobs_read", tags=TAGS, responses=WholeJobShape)
    def get(self, request, pk):
        return Response(self.shown(pk))


class Cancel(JobView):
    """Stop it; not while it is being saved."""

    little = frozenset({"POST"})

    @extend_schema(operation_id="jobs_cancel", tags=TAGS, request=None, responses=WholeJobShape)
    def post(self, request, pk):
        job = access.job(self.viewer, pk, "write")
        queue.cancel_job(actor=self.actor(), job=job)
        return Response(self.shown(pk))


class SetPriority(JobView):
    """Let a job that waits come before or after its owner's others."""

    little = frozenset({"POST"})

    @extend_schema(operation_id="jobs_priority", tags=TAGS, request=PriorityBody, responses=WholeJobShape)
    def post(self, request, pk):
        job = access.job(self.viewer, pk, "write")
        queue.set_priority(actor=self.viewer, job=job, **self.read(PriorityBody))
        return Response(self.shown(pk))


class Retry(JobView):
    """Queue it again after failure or cancelling."""

    @extend_schema(operation_id="jobs_retry", tags=TAGS, request=None, responses=WholeJobShape)
    def post(self, request, pk):
        job = access.job(self.viewer, pk, "write")
        queue.retry_job(actor=self.actor(), job=job)
        return Response(self.shown(pk))


class Recipe(JobView):
    """The job as a file that runs it again: POST /recipes reads it."""

    @extend_schema(
        operation_id="jobs_recipe",
        tags=TAGS,
        responses={(200, "application/yaml"): OpenApiResponse(OpenApiTypes.STR, "Kind, inputs, digests, fields.")},
    )
    def get(self, request, pk):
        text = own.write(self.viewer, access.job(self.viewer, pk))
        return HttpResponse(text, content_type="application/yaml; charset=utf-8")


class Log(JobView):
    """The stored log; `after` is the id of the last line the client has."""

    @extend_schema(
        operation_id="jobs_log",
        tags=TAGS,
        parameters=[OpenApiParameter("after", OpenApiTypes.INT)],
        responses=paged(LogShape),
    )
    def get(self, request, pk):
        job = access.job(self.viewer, pk)
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= 18):
            raise Invalid(f"after={after!r}: give the id of the last line you have.", field="after")
        context = {"sight": Sight(self.viewer, [job]), "job": job}
        lines = job.log.filter(pk__gt=int(after))
        return page(request, lines, ("id",), lambda rows: LogShape(rows, many=True, context=context).data)


class Events(JobView):
    """Server-sent events `progress`, `log`, `state`; of a trial also `token`."""

    front = {"GET": "live"}

    @extend_schema(
        operation_id="jobs_events",
        tags=TAGS,
        parameters=[OpenApiParameter("Last-Event-ID", OpenApiTypes.STR, OpenApiParameter.HEADER)],
        responses={(200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, "Ends after 25 s; come back.")},
    )
    def get(self, request, pk):
        job = access.job(self.viewer, pk)
        last_id = request.headers.get("Last-Event-ID", "")
        if last_id == END and job.is_final:
            return HttpResponse(status=204)
        sight = Sight(self.viewer, [job])
        sight.prepare(job)
        return LiveEvents(Watch(job.pk, last_id, self.actor().pk, partial(sight.tell_json, job)))


def idempotency_key(request) -> str | None:
    """The Idempotency-Key header, at most 200 printable characters."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 200 and key.isascii() and key.isprintable()):
        raise Invalid("Idempotency-Key: use 1 to 200 printable ASCII characters.", field="Idempotency-Key")
    return key
