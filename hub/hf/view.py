"""The base of all views of the protocol: sign-in by token, scopes, JSON in and out, refusals for the stock client."""

import re
from collections.abc import Callable, Sequence

from django.http import HttpResponseBase
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer

from hub import access, disk
from hub.errors import Invalid
from hub.hf import base_places
from hub.hf.refusals import IsBase, RouteMissing, in_a_header, refusal_of
from hub.http.authentication import TokenAuthentication
from hub.http.bodies import JSONParser
from hub.http.programs import ForPrograms

ID = frozenset({"type", "namespace", "name"})
LONGEST_TEXT = 1000  # no name is longer, and databases refuse to look for much longer ones
STORING = frozenset({"POST", "PUT", "PATCH"})
TEMPLATES = "additional_chat_templates"
"""A folder that only transformers asks for; before 5 it doesn't say its name with that."""
LOADERS = re.compile(r"\b(transformers|diffusers|sentence[-_]transformers)/")


def warned(topic: str, texts: Sequence[str]) -> dict[str, str]:
    """The header that the client prints as a warning, once for each topic; none for nothing to say."""
    return {"X-HF-Warning": f"{topic}; {in_a_header(' '.join(texts))}"} if texts else {}


class OneFormat(BaseContentNegotiation):
    """The view's own parser and renderer, whatever the client's headers name."""

    def select_parser(self, request, parsers):
        return parsers[0]

    def select_renderer(self, request, renderers, format_suffix=None):
        return renderers[0], renderers[0].media_type


class View(ForPrograms):
    """A token needs `read` for reading and `write` for the rest; a view's `scopes` name the methods that differ.

    An unknown or expired token is 401 on every route, public ones too; a view of what needs no token says `open`.
    """

    authentication_classes = [TokenAuthentication]
    content_negotiation_class = OneFormat
    renderer_classes = [JSONRenderer]
    parser_classes = [JSONParser]
    http_method_names = ["get", "head", "post", "put", "delete"]
    schema = None
    scopes: dict[str, str] = {}
    of_base: Callable[..., HttpResponseBase] | None = None
    """What answers where the id is a base's: it takes this view, the base and the address's other parts."""
    little: frozenset[str] = frozenset()
    """Methods that go on when the disk is nearly full; DELETE always does."""

    @property
    def viewer(self) -> access.Viewer:
        """Who is asking, as `hub.access` sees them."""
        return access.viewer_of(self.request)

    def loads_a_model(self, path: str = "") -> bool:
        """Whether a library that loads base models asks for this path: it goes on to its cache, see `KeptElsewhere`."""
        if path.rstrip("/").endswith(f"/{TEMPLATES}"):
            return True
        return LOADERS.search(self.request.headers.get("User-Agent", "")) is not None

    def get_exception_handler(self):
        return refusal_of

    def handle_exception(self, exc):
        found = base_places.find(exc.name) if isinstance(exc, IsBase) and self.of_base else None
        if found is None:
            return super().handle_exception(exc)
        rest = {key: value for key, value in self.kwargs.items() if key not in ID}
        try:
            return self.of_base(self, found, **rest)
        except Exception as error:
            return super().handle_exception(error)

    def initial(self, request, *args, **kwargs) -> None:
        super().initial(request, *args, **kwargs)
        if request.auth is not None:
            method = "GET" if request.method == "HEAD" else request.method
            access.require_scope(self.viewer, self.scopes.get(method) or ("read" if method == "GET" else "write"))
        if request.method in STORING - self.little:
            disk.require_room()

    def actor(self):
        """The signed-in user; 401 where no one is signed in."""
        return access.require_user(self.viewer)

    def body(self) -> dict:
        """The request's JSON object; {} for anything else. Fields that this hub doesn't know are left alone."""
        data = self.request.data
        return data if isinstance(data, dict) else {}

    def text(self, key: str, fallback: str | None = None) -> str:
        """A text of the request's JSON, where it is missing or null the fallback. Errors: Invalid for all else."""
        value = self.body().get(key)
        value = fallback if value is None else value
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT:
            raise Invalid(
                f"{key!r} should be a text of at most {LONGEST_TEXT} characters in the request's JSON, and is "
                f"{str(value)[:60]!r}.",
                field=key,
            )
        return value

    def query(self, key: str) -> str:
        """The last value of a key of the query, "" without one."""
        return self.queries(key)[-1] if self.queries(key) else ""

    def queries(self, key: str) -> list[str]:
        """All values of a key of the query, also written as `key[]`."""
        given = self.request.query_params
        found = [*given.getlist(key), *given.getlist(f"{key}[]")]
        if any("\0" in value for value in found):
            raise Invalid(f"{key} holds a NUL character: remove it.", field=key)
        return found

    def says(self, key: str) -> bool:
        """Whether a switch of the query is on."""
        return self.query(key).lower() in ("1", "true")

    def address(self, path: str) -> str:
        """The whole address of a path here, by the host that the client asked: it compares hosts."""
        return self.request.build_absolute_uri(path)


class Unknown(View):
    """Any address under /api/ that no route claims, in any method, whoever asks."""

    authentication_classes = []
    little = STORING

    def dispatch(self, request, *args, **kwargs):
        self.http_method_names = []
        return super().dispatch(request, *args, **kwargs)

    def http_method_not_allowed(self, request, *args, **kwargs):
        raise RouteMissing("There is no such route in this hub.")
