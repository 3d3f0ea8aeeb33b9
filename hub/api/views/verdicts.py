"""Whether a transfer or a merge lost something, and the evaluations that this is judged by."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Object, Text
from hub.api.view import View
from hub.http.job_serializers import JobShape, show
from hub.models import Kind
from hub.queries.verdict import verdict
from hub.services.verdict_arms import measure_arms

TAGS = ["evaluations"]
UNMEASURED = (
    "Nobody whose data you see has measured this merge beside its inputs yet: start a job of the kind measure-merge."
)


class VerdictShape(serializers.Serializer):
    """The arms on the same rows, the transferred adapter's differences to them, and what it means."""

    state = serializers.CharField(help_text="unmeasured, better, lossless, open (within chance) or lossy")
    sentence = serializers.CharField()
    dataset = serializers.CharField(allow_null=True)
    split = serializers.CharField(allow_null=True)
    metric = serializers.CharField(allow_null=True)
    arms = serializers.ListField(child=serializers.JSONField(), help_text="{role, name, metrics, rows, share}")
    differences = serializers.ListField(child=serializers.JSONField(), help_text="{role, value, low, high, paired}")
    missing = serializers.ListField(child=serializers.CharField())
    datasets = serializers.ListField(child=serializers.CharField())


class MeasureBody(Body):
    """What to measure the arms on."""

    dataset = Text(max_length=400, help_text="datasets/ns/name@v1")
    oracle = Text(max_length=400, default=None, allow_null=True, help_text="trained on the target with real data")
    recipe = Object(default=dict, help_text="for the evaluations; if given, all arms are measured with it")


class Verdict(View):
    """The verdict on one version; POST queues the evaluations it lacks."""

    def found(self, namespace: str, name: str, ref: str):
        return access.version(self.viewer, namespace, name, ref, kind=Kind.ADAPTER)

    @extend_schema(
        operation_id="verdict",
        tags=TAGS,
        parameters=[
            OpenApiParameter("dataset", OpenApiTypes.STR, description="datasets/ns/name@v1"),
            OpenApiParameter("oracle", OpenApiTypes.STR, description="trained on the target with real data"),
        ],
        responses=VerdictShape,
    )
    def get(self, request, namespace, name, ref):
        version = self.found(namespace, name, ref)
        return Response(verdict(self.viewer, version, **arms_named(self.viewer, request.query_params)))

    @extend_schema(operation_id="verdict_measure", tags=TAGS, request=MeasureBody, responses={201: JobShape(many=True)})
    def post(self, request, namespace, name, ref):
        version = self.found(namespace, name, ref)
        self.actor()
        wanted = self.read(MeasureBody)
        named = arms_named(self.viewer, wanted)
        queued = measure_arms(actor=self.viewer, version=version, recipe=wanted["recipe"] or None, **named)
        return Response(show(self.viewer, [access.job(self.viewer, job.pk) for job in queued]), status=201)


class LossShape(serializers.Serializer):
    """What a merge lost; `state` unmeasured and nothing else where nobody has measured it."""

    state = serializers.CharField(help_text="unmeasured, lossless, better, open, lossy")
    sentence = serializers.CharField()
    job = serializers.IntegerField(allow_null=True, help_text="that measured it")
    less = serializers.JSONField(allow_null=True, help_text="the merge minus each task's best input: value, low, high")
    arms = serializers.ListField(child=serializers.JSONField(), help_text="{arm, name, mean}")
    tasks = serializers.ListField(
        child=serializers.JSONField(), help_text="{dataset, split, rows, best, less, shares, kept, nll}, by arm"
    )


class Loss(View):
    """What a merge lost of its inputs; a job of the kind measure-merge measures it."""

    @extend_schema(operation_id="merge_loss", tags=TAGS, responses=LossShape)
    def get(self, request, namespace, name, ref):
        version = access.version(self.viewer, namespace, name, ref, kind=Kind.ADAPTER)
        unmeasured = {"state": "unmeasured", "sentence": UNMEASURED, "job": None, "less": None, "arms": [], "tasks": []}
        return Response(queries.loss_of(self.viewer, version) or unmeasured)


def arms_named(viewer: access.Viewer, given) -> dict:
    """The dataset and the oracle that a request names."""
    dataset, oracle = given.get("dataset"), given.get("oracle")
    return {
        "dataset": access.parse_input(viewer, dataset, kind=Kind.DATASET) if dataset else None,
        "oracle": access.parse_input(viewer, oracle, kind=Kind.ADAPTER) if oracle else None,
    }
