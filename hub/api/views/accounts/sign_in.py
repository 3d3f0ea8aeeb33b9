"""Me, my tokens, signing in for one."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from hub import access, queries
from hub.api.bodies import Body, Password, Text, Whole
from hub.api.pagination import page
from hub.api.schema import paged
from hub.api.view import DOWNLOAD, READS, View
from hub.http.peer import address_of
from hub.http.visitors import visitor_of
from hub.models import Token
from hub.services import accounts, tokens
from hub.services.signing_in.sign_in import sign_in


class TokenBody(Body):
    """Name, scopes, lifetime and limit of a new token."""

    name = Text(max_length=100, default="api")
    scopes = serializers.ListField(child=serializers.ChoiceField(Token.Scope.choices), max_length=4, min_length=1)
    expires_in_days = Whole(min_value=1, max_value=tokens.MAX_DAYS, default=90)
    namespace = Text(max_length=96, default=None, allow_null=True, help_text="limits it to this namespace")
    repository = Text(max_length=202, default=None, allow_null=True, help_text="limits it to this one, by its path")

    def get_fields(self) -> dict:
        fields = super().get_fields()
        fields["scopes"].required, fields["scopes"].default = False, ["read", "write"]
        return fields


class SignInBody(TokenBody):
    """Name and password, the one-time code of a second factor, and what token to make."""

    username = Text(max_length=150)
    password = Password()
    code = Text(max_length=40, default="", allow_blank=True)


class SignUpBody(Body):
    """Who wants an account."""

    username = Text(max_length=96)
    password = Password()
    email = Text(max_length=254, default="", allow_blank=True)


class UserShape(serializers.Serializer):
    """A new user."""

    username = serializers.CharField()
    email = serializers.CharField()


class TokenShape(serializers.ModelSerializer):
    """A token, without its secret."""

    namespace = serializers.CharField(
        source="namespace.name", default=None, allow_null=True, help_text="all that it is limited to, or null"
    )
    repository = serializers.SerializerMethodField(
        help_text="all that it is limited to, by its path, or (hidden) where its user can't see it any more; or null"
    )

    class Meta:
        model = Token
        fields = (
            "id",
            "name",
            "prefix",
            "scopes",
            "namespace",
            "repository",
            "created_at",
            "expires_at",
            "last_used_at",
            "revoked_at",
        )

    def get_repository(self, token) -> str | None:
        return queries.limit_shown(token)


class NewTokenShape(TokenShape):
    """A token just made; `token` is its secret and is shown this once."""

    token = serializers.CharField()

    class Meta(TokenShape.Meta):
        fields = ("token", *TokenShape.Meta.fields)


class PlaceShape(serializers.Serializer):
    """A namespace and my role in it."""

    name = serializers.CharField(source="namespace.name")
    display_name = serializers.CharField(source="namespace.display_name")
    organisation = serializers.BooleanField(source="namespace.is_organisation")
    role = serializers.CharField()


class MeShape(serializers.Serializer):
    """The signed-in user, their roles by namespace, and the token they used."""

    username = serializers.CharField()
    email = serializers.CharField()
    namespaces = PlaceShape(many=True)
    token = TokenShape(allow_null=True)


def new_token(token: Token, secret: str) -> dict:
    """The answer that holds the secret."""
    return {"token": secret, **TokenShape(token).data}


class Me(View):
    """The signed-in user; a token for downloads learns no more than whose it is and what it may do."""

    scopes = DOWNLOAD
    within_limit = READS

    @extend_schema(operation_id="me", tags=["accounts"], responses=MeShape)
    def get(self, request):
        user, whole = self.actor(), self.viewer.has_scope("read")
        token = request.auth and TokenShape(request.auth).data
        places = PlaceShape(queries.memberships(self.viewer), many=True).data if whole else []
        email = user.email if whole else ""
        return Response({"username": user.username, "email": email, "namespaces": places, "token": token})


class SignIn(View):
    """A token for a name and a password, and for a code where the user has a second factor."""

    authentication_classes = []
    little = frozenset({"POST"})

    @extend_schema(
        operation_id="sign_in", tags=["accounts"], request=SignInBody, responses={201: NewTokenShape}, auth=[]
    )
    def post(self, request):
        wanted = self.read(SignInBody)
        given = {name: wanted.pop(name) for name in ("username", "password", "code")}
        user = sign_in(**given, visitor=visitor_of(request, "api"))
        return Response(new_token(*tokens.create_token(actor=user, **wanted)), status=201)


class SignUp(View):
    """A new user with their own namespace, where this hub takes sign-ups."""

    authentication_classes = []

    @extend_schema(operation_id="sign_up", tags=["accounts"], request=SignUpBody, responses={201: UserShape}, auth=[])
    def post(self, request):
        accounts.require_open()
        made = accounts.create_user(**self.read(SignUpBody), address=address_of(request))
        return Response(UserShape(made).data, status=201)


class Tokens(View):
    """My tokens. Making one by a token needs its admin scope; a narrow key can't cut a wider one."""

    scopes = {"POST": "admin"}
    within_limit = ("POST",)

    @extend_schema(operation_id="tokens_list", tags=["accounts"], responses=paged(TokenShape))
    def get(self, request):
        mine = queries.tokens(self.viewer)
        return page(request, mine, ("-id",), lambda rows: TokenShape(rows, many=True).data)

    @extend_schema(operation_id="tokens_create", tags=["accounts"], request=TokenBody, responses={201: NewTokenShape})
    def post(self, request):
        self.actor()
        return Response(new_token(*tokens.create_token(actor=self.viewer, **self.read(TokenBody))), status=201)


class OneToken(View):
    """One of my tokens; a token may end itself whatever its scopes."""

    scopes = {"DELETE": "download"}
    within_limit = ("DELETE",)

    @extend_schema(operation_id="tokens_revoke", tags=["accounts"], responses={204: None})
    def delete(self, request, pk):
        token = access.token(self.viewer, pk)
        if request.auth is not None and request.auth.pk != token.pk:
            access.require_scope(self.viewer, "admin")
            access.require_no_limit(self.viewer)
        tokens.revoke_token(actor=self.actor(), token=token)
        return Response(status=204)
