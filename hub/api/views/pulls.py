"""Proposals: what others want to change in a repository; listed, shown, retitled, closed, reopened and merged.

They are opened by the Hugging Face protocol (`create_pr=True`).
"""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Text
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import View
from hub.models import PullRequest, PullState
from hub.services.sharing import differences, pulls

TAGS = ["proposals"]


class PullsQuery(Body):
    """Which proposals; `closed` holds the merged ones too."""

    state = serializers.ChoiceField([*PullState.values, "all"], default="all")
    cursor = Text(max_length=2000, required=False)
    limit = Text(max_length=10, required=False)


class PullChange(Body):
    """What may change of a proposal."""

    title = Text(max_length=500, required=False)
    state = serializers.ChoiceField([PullState.OPEN, PullState.CLOSED], required=False)


class PullShape(serializers.ModelSerializer):
    """A proposal."""

    author = serializers.CharField(source="author.username", default=None, allow_null=True)
    closed_by = serializers.CharField(source="closed_by.username", default=None, allow_null=True)
    ref = serializers.CharField()

    class Meta:
        model = PullRequest
        fields = ("number", "title", "author", "target", "state", "ref", "created_at", "closed_at", "closed_by")


class DifferenceShape(serializers.Serializer):
    """One file that it changes; sizes in bytes, null where there is no such file."""

    path = serializers.CharField()
    change = serializers.ChoiceField(["added", "changed", "removed"])
    size_before = serializers.IntegerField(allow_null=True)
    size_after = serializers.IntegerField(allow_null=True)


class FoundShape(serializers.Serializer):
    """What the check of its files found."""

    whole = serializers.BooleanField(required=False, help_text="whether a merge can make a version")
    same_as = serializers.CharField(required=False, allow_null=True, help_text="v3, whose content it is")
    base = serializers.CharField(required=False, allow_null=True)
    warnings = serializers.ListField(child=serializers.CharField(), required=False)


class WholePullShape(PullShape):
    """A proposal with what it changes."""

    revision = serializers.CharField(allow_null=True, help_text="what is proposed, 40 hex digits")
    merged_as = serializers.CharField(source="merged_as.oid", default=None, allow_null=True)
    found = FoundShape()
    files = DifferenceShape(many=True)
    conflicts = serializers.ListField(child=serializers.CharField(), help_text="files that others changed since")

    class Meta(PullShape.Meta):
        fields = (*PullShape.Meta.fields, "description", "revision", "merged_as", "found", "files", "conflicts")


class MergeShape(serializers.Serializer):
    """What a merge made."""

    revision = serializers.CharField()
    version = serializers.CharField(allow_null=True, help_text="where its weights are whole and new")


class Pulls(View):
    """All proposals of a repository."""

    @extend_schema(operation_id="pulls_list", tags=TAGS, parameters=[PullsQuery], responses=paged(PullShape))
    def get(self, request, namespace, name):
        found = queries.pulls(access.repository(self.viewer, namespace, name), state=self.query(PullsQuery)["state"])
        return page(request, found, ("-number",), lambda rows: PullShape(rows, many=True).data)


class OnePull(View):
    """One proposal."""

    @extend_schema(operation_id="pulls_read", tags=TAGS, responses=WholePullShape)
    def get(self, request, namespace, name, number):
        return Response(whole(_pull(self.viewer, namespace, name, number, "read")))

    @extend_schema(operation_id="pulls_change", tags=TAGS, request=PullChange, responses=WholePullShape)
    def patch(self, request, namespace, name, number):
        pull, wanted = _pull(self.viewer, namespace, name, number, "change"), self.read(PullChange)
        if "title" in wanted:
            pull = pulls.retitle(actor=self.actor(), pull=pull, title=wanted["title"])
        if "state" in wanted:
            pull = pulls.set_state(actor=self.actor(), pull=pull, state=wanted["state"])
        return Response(whole(pull))


class Merge(View):
    """The merge of one."""

    @extend_schema(operation_id="pulls_merge", tags=TAGS, request=None, responses=MergeShape)
    def post(self, request, namespace, name, number):
        pull = _pull(self.viewer, namespace, name, number, "merge")
        may = access.may(self.viewer, pull.repository, "admin")
        result = pulls.merge(actor=self.actor(), pull=pull, may_protected=may)
        return Response({"revision": result.revision.oid, "version": result.version and result.version.label})


def _pull(viewer: access.Viewer, namespace: str, name: str, number: int, need: str) -> PullRequest:
    """The proposal, where the viewer may do `need` with it."""
    return access.pull(viewer, access.repository(viewer, namespace, name), number, need)


def whole(pull: PullRequest) -> dict:
    """The proposal as JSON, with what it changes."""
    head, found = differences.of_pull(pull)
    pull.revision, pull.conflicts = head and head.oid, differences.conflicts(pull)
    pull.files = [
        {
            "path": one.path,
            "change": one.word,
            "size_before": one.before and one.before.size,
            "size_after": one.after and one.after.size,
        }
        for one in found
    ]
    return WholePullShape(pull).data
