"""The one base of all API views: sign-in by token or session, scopes, strict JSON, one answer format."""

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from hub import access, disk
from hub.api.bodies import Body, JSONParser
from hub.errors import NotFound
from hub.http.authentication import SessionAuthentication, TokenAuthentication
from hub.http.programs import ForPrograms

SCOPES = {"GET": "read", "HEAD": "read"}
STORING = frozenset({"POST", "PUT", "PATCH"})
DOWNLOAD = {"GET": "download", "HEAD": "download"}
READS = ("GET", "HEAD")


class JSONAlways(BaseContentNegotiation):
    """We speak one format; an Accept header (a browser's, or `application/octet-stream` for a file) changes nothing."""

    def select_parser(self, request, parsers):
        return parsers[0]

    def select_renderer(self, request, renderers, format_suffix=None):
        return renderers[0], renderers[0].media_type


class View(ForPrograms):
    """A token needs `read` for reading and `write` for the rest; a view's `scopes` name the methods that differ.

    A token that is limited to a place is refused on routes that name no repository, but for the methods in
    `within_limit`: what these look up and write, they look up by the viewer's limit.
    """

    authentication_classes = [TokenAuthentication, SessionAuthentication]
    content_negotiation_class = JSONAlways
    renderer_classes = [JSONRenderer]
    parser_classes = [JSONParser]
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    scopes: dict[str, str] = {}
    little: frozenset[str] = frozenset()
    """Methods that go on when the disk is nearly full, as they free room or are needed to; DELETE always does."""
    within_limit: tuple[str, ...] = ()

    @property
    def viewer(self) -> access.Viewer:
        """Who is asking, as `hub.access` sees them."""
        return access.viewer_of(self.request)

    def initial(self, request, *args, **kwargs) -> None:
        super().initial(request, *args, **kwargs)
        needed = self.scopes.get(request.method) or SCOPES.get(request.method, "write")
        if request.auth is not None:
            access.require_scope(self.viewer, needed)
            if request.method not in self.within_limit and not {"namespace", "name"} <= set(kwargs):
                access.require_no_limit(self.viewer)
        if request.method in STORING - self.little:
            disk.require_room()

    def actor(self):
        """The signed-in user; 401 where no one is signed in."""
        return access.require_user(self.viewer)

    def read(self, body: type[Body], data: object = None) -> dict:
        """The request's body (or `data`) by this serializer; refusals are 422 with the field."""
        serializer = body(data=self.request.data if data is None else data)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    def query(self, body: type[Body]) -> dict:
        """The query string by this serializer; the last of repeated values counts."""
        return self.read(body, self.request.query_params.dict())


class Unknown(View):
    """Any address that no route claims, in any method, whoever asks."""

    schema = None
    authentication_classes = []
    little = STORING

    def dispatch(self, request, *args, **kwargs) -> Response:
        self.http_method_names = []
        return super().dispatch(request, *args, **kwargs)

    def http_method_not_allowed(self, request, *args, **kwargs) -> None:
        raise NotFound("There is no such route: the list is at /api/v1/docs.")
