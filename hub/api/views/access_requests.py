"""Requests for the files of gated repositories: asked by anyone who sees it, decided by its admins."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import View
from hub.models import AccessRequest, AccessState
from hub.services.sharing import access_requests

TAGS = ["access requests"]


class RequestsQuery(Body):
    """Which requests."""

    state = serializers.ChoiceField(AccessState.choices, required=False)
    cursor = Text(max_length=2000, required=False)
    limit = Text(max_length=10, required=False)


class DecisionBody(Body):
    """What becomes of a request."""

    state = serializers.ChoiceField(AccessState.choices, help_text="pending has it wait again")


class RequestShape(serializers.ModelSerializer):
    """Who asks for the files, and what became of it."""

    user = serializers.CharField(source="user.username")
    decided_by = serializers.CharField(source="decided_by.username", default=None, allow_null=True)

    class Meta:
        model = AccessRequest
        fields = ("user", "state", "created_at", "decided_by", "decided_at")


class AccessRequests(View):
    """Asking, and what was asked."""

    scopes = {"GET": "admin", "POST": "read"}

    @extend_schema(
        operation_id="access_requests_list", tags=TAGS, parameters=[RequestsQuery], responses=paged(RequestShape)
    )
    def get(self, request, namespace, name):
        repository = access.repository(self.viewer, namespace, name, "admin")
        found = queries.access_requests(repository, self.query(RequestsQuery).get("state"))
        return page(request, found, ("-created_at", "-id"), lambda rows: RequestShape(rows, many=True).data)

    @extend_schema(operation_id="access_requests_ask", tags=TAGS, request=None, responses=RequestShape)
    def post(self, request, namespace, name):
        repository = access.repository(self.viewer, namespace, name)
        return Response(RequestShape(access_requests.ask(actor=self.actor(), repository=repository)).data)


class OneAccessRequest(View):
    """The decision on one; for somebody who hasn't asked, it lets them in."""

    scopes = {"PUT": "admin"}

    @extend_schema(operation_id="access_requests_decide", tags=TAGS, request=DecisionBody, responses=RequestShape)
    def put(self, request, namespace, name, username):
        repository = access.repository(self.viewer, namespace, name, "admin")
        asked, state = {"actor": self.actor(), "repository": repository}, self.read(DecisionBody)["state"]
        if state == AccessState.ACCEPTED:
            return Response(RequestShape(access_requests.grant(**asked, user=queries.user(username))).data)
        found = queries.access_request(repository, user=username)
        return Response(RequestShape(access_requests.decide(**asked, request=found, state=state)).data)
