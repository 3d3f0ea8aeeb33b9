"""Measured quality: the table that compares versions."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.view import READS, View
from hub.errors import Invalid

MOST = 20


class LineShape(serializers.Serializer):
    """One row, for a dataset: column → metric → value."""

    dataset = serializers.CharField()
    split = serializers.CharField()
    metrics = serializers.JSONField()


class TableShape(serializers.Serializer):
    """Columns are bare bases, then the versions asked for."""

    columns = serializers.ListField(child=serializers.CharField())
    rows = LineShape(many=True)


class Compare(View):
    """Versions side by side, on every dataset or on one."""

    within_limit = READS

    @extend_schema(
        operation_id="compare",
        tags=["evaluations"],
        parameters=[
            OpenApiParameter("version", OpenApiTypes.STR, many=True, required=True, description="ns/name@v1"),
            OpenApiParameter("dataset", OpenApiTypes.STR, description="datasets/ns/name@v1"),
        ],
        responses=TableShape,
    )
    def get(self, request):
        names = list(dict.fromkeys(request.query_params.getlist("version")))
        if not 1 <= len(names) <= MOST:
            raise Invalid(f"Give 1 to {MOST} versions, as version=ns/name@v1; got {len(names)}.", field="version")
        compared = [access.parse_input(self.viewer, name) for name in names]
        dataset = request.query_params.get("dataset")
        dataset = dataset and access.parse_input(self.viewer, dataset, kind="dataset")
        return Response(queries.compare(self.viewer, compared, dataset=dataset or None))
