"""Repositories: browsing, making, changing, deleting, restoring."""

from functools import partial

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Text
from hub.api.pagination import page, ranked_page
from hub.api.repository_rows import columns, show
from hub.api.schema import paged
from hub.api.view import READS, View
from hub.models import Gate, Kind, Origin, Repository, Visibility
from hub.services import repositories
from hub.services.upkeep.purge import purge_repository

TAGS = ["repositories"]


class RepositoryQuery(Body):
    """What to look for. Facets narrow; `sort` is one of a fixed list."""

    kind = serializers.ChoiceField(Kind.choices, required=False)
    search = Text(max_length=200, default="", allow_blank=True)
    base = Text(max_length=300, required=False)
    peft_type = Text(max_length=40, required=False)
    rank = serializers.IntegerField(min_value=1, max_value=2**31 - 1, required=False)
    license = Text(max_length=100, required=False)
    origin = serializers.ChoiceField(Origin.choices, required=False)
    tag = Text(max_length=60, required=False)
    owner = Text(max_length=96, required=False)
    ref = Text(max_length=200, required=False, help_text="only those with this tag, branch or version: see `at`")
    sort = serializers.ChoiceField(
        [*sorted(queries.SORTS), queries.RELEVANCE],
        default="",
        help_text="`relevance`, the order of a search, has its best 1,000 answers; a list's order is `updated`",
    )
    cursor = Text(max_length=2000, required=False)
    limit = Text(max_length=10, required=False)


class RepositoryBody(Body):
    """A new repository."""

    namespace = Text(max_length=96)
    name = Text(max_length=96)
    kind = serializers.ChoiceField(Kind.choices)
    visibility = serializers.ChoiceField(Visibility.choices, default=Visibility.PUBLIC)
    description = Text(max_length=300, default="", allow_blank=True)


class RepositoryChange(Body):
    """The fields that may change."""

    visibility = serializers.ChoiceField(Visibility.choices, required=False)
    description = Text(max_length=300, required=False, allow_blank=True)
    gate = serializers.ChoiceField(
        Gate.choices, required=False, help_text="who may have a public repository's files: all, who asks, who is let in"
    )


class PointShape(serializers.Serializer):
    """What a ref stands for."""

    revision = serializers.CharField(source="oid")
    version = serializers.CharField(source="version.label", default=None, allow_null=True)


class RepositoryShape(serializers.ModelSerializer):
    """A repository with the facts of its newest version: the schema of what `repository_rows` makes."""

    full_name = serializers.CharField(help_text="ns/name, which a model and a dataset may share")
    path = serializers.CharField(help_text="ns/name, and datasets/ns/name of a dataset: what nothing else is called")
    namespace = serializers.CharField(source="namespace.name")
    base = serializers.CharField(source="base.name", default=None, allow_null=True)
    tags = serializers.SlugRelatedField("name", many=True, read_only=True)
    latest = serializers.SerializerMethodField(help_text="the newest version, as v3")
    at = serializers.SerializerMethodField(help_text="where a list asked for a `ref`: what it stands for")

    class Meta:
        model = Repository
        fields = ("full_name", "path", "namespace", "name", "kind", "visibility", "gate", "description", "base")
        fields += ("origin", "peft_type", "rank", "license", "size", "downloads", "tags", "latest")
        fields += ("created_at", "updated_at", "deleted_at", "at")

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_latest(self, repository): ...

    @extend_schema_field(PointShape(allow_null=True))
    def get_at(self, repository): ...


class Repositories(View):
    """Browsing and making."""

    within_limit = (*READS, "POST")

    @extend_schema(
        operation_id="repositories_list",
        tags=TAGS,
        parameters=[RepositoryQuery],
        responses=paged(RepositoryShape),
    )
    def get(self, request):
        wanted = self.query(RepositoryQuery)
        wanted.pop("cursor", None), wanted.pop("limit", None)
        ref = wanted.pop("ref", "")
        search, shown = wanted.pop("search"), partial(show, ref=ref)
        order = queries.order_of(wanted.pop("sort"), search)
        is_ranked = order == queries.RELEVANCE
        found = queries.repositories(self.viewer, search="" if is_ranked else search, **wanted)
        found = queries.with_ref(found, ref) if ref else found
        if is_ranked:
            ids = queries.ranked(found, search).ids
            return ranked_page(request, found, ids, shown)
        return page(request, columns(found), (queries.SORTS[order], "-id"), shown)

    @extend_schema(
        operation_id="repositories_create", tags=TAGS, request=RepositoryBody, responses={201: RepositoryShape}
    )
    def post(self, request):
        actor, wanted = self.actor(), self.read(RepositoryBody)
        wanted["namespace"] = access.namespace(self.viewer, wanted["namespace"], "write")
        made = repositories.create_repository(actor=actor, **wanted)
        return Response(show([made])[0], status=201)


class OneRepository(View):
    """Reading, changing, deleting."""

    @extend_schema(operation_id="repositories_read", tags=TAGS, responses=RepositoryShape)
    def get(self, request, namespace, name):
        return Response(show([access.repository(self.viewer, namespace, name)])[0])

    @extend_schema(operation_id="repositories_update", tags=TAGS, request=RepositoryChange, responses=RepositoryShape)
    def patch(self, request, namespace, name):
        found = access.repository(self.viewer, namespace, name, "write")
        wanted = self.read(RepositoryChange)
        if any(wanted.get(key, getattr(found, key)) != getattr(found, key) for key in ("visibility", "gate")):
            found = access.repository(self.viewer, namespace, name, "admin")
        changed = repositories.update_repository(actor=self.viewer, repository=found, **wanted)
        return Response(show([changed])[0])

    @extend_schema(operation_id="repositories_delete", tags=TAGS, responses={204: None})
    def delete(self, request, namespace, name):
        found = access.repository(self.viewer, namespace, name, "admin")
        repositories.delete_repository(actor=self.actor(), repository=found)
        return Response(status=204)


class Restore(View):
    """Restoring a repository from the trash."""

    scopes = {"POST": "admin"}

    @extend_schema(operation_id="repositories_restore", tags=TAGS, request=None, responses=RepositoryShape)
    def post(self, request, namespace, name):
        found = access.repository(self.viewer, namespace, name, "admin", deleted=True)
        back = repositories.restore_repository(actor=self.actor(), repository=found)
        return Response(show([back])[0])


class Purge(View):
    """Deleting a repository in the trash for good."""

    scopes = {"POST": "admin"}

    @extend_schema(operation_id="repositories_purge", tags=TAGS, request=None, responses={204: None})
    def post(self, request, namespace, name):
        found = access.repository(self.viewer, namespace, name, "admin", deleted=True, exact=True)
        purge_repository(actor=self.actor(), repository=found)
        return Response(status=204)


class Trash(View):
    """Repositories that can be restored, for admins."""

    within_limit = READS

    @extend_schema(operation_id="repositories_trash", tags=TAGS, responses=paged(RepositoryShape))
    def get(self, request):
        return page(request, columns(queries.trash(self.viewer)), ("-deleted_at", "-id"), show)
