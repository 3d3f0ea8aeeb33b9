"""What runs by itself, for administrators of the site."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access
from hub.api.view import View
from hub.services.upkeep.status import status


class UpkeepShape(serializers.Serializer):
    """A task of the upkeep."""

    name = serializers.CharField()
    summary = serializers.CharField()
    every = serializers.IntegerField(help_text="seconds between two runs")
    setting = serializers.CharField(help_text="the settings that say how long things are kept, with their values")
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    next_at = serializers.DateTimeField(allow_null=True)
    outcome = serializers.CharField(help_text="done, failed or stopped; empty before the first run")
    message = serializers.CharField()


class Upkeep(View):
    """Every task with its last and next run."""

    scopes = {"GET": "admin"}

    @extend_schema(operation_id="upkeep_list", tags=["administration"], responses=UpkeepShape(many=True))
    def get(self, request):
        access.require_site_admin(self.viewer)
        return Response(UpkeepShape(status(), many=True).data)
