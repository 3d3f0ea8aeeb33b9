"""The merge basket: version names a visitor ticked, kept in their session in the order of ticking."""

from django.http import HttpRequest

from hub import access
from hub.access import Viewer
from hub.errors import HubError, Invalid
from hub.models import Kind, Version

KEY = "basket"
LIMIT = 64


def names(request: HttpRequest) -> list[str]:
    """`namespace/name@vN` of everything in it."""
    return list(request.session.get(KEY, []))


def repositories(request: HttpRequest) -> set[str]:
    """`namespace/name` of everything in it."""
    return {name.partition("@")[0] for name in names(request)}


def toggle(request: HttpRequest, text: str) -> None:
    """Add the named version, pinned to its number; if one of its repository is in the basket, remove that instead."""
    repository = text.partition("@")[0]
    held = names(request)
    kept = [name for name in held if name.partition("@")[0].lower() != repository.lower()]
    if len(kept) == len(held):
        if len(held) >= LIMIT:
            raise Invalid(f"The basket holds {LIMIT} versions at most; remove one first.", field="toggle")
        version = access.parse_input(access.viewer_of(request), text, kind=Kind.ADAPTER)
        kept.append(str(version))
    request.session[KEY] = kept


def fill(request: HttpRequest, chosen: list[str]) -> None:
    """Replace the content, as when a merge is run again."""
    request.session[KEY] = chosen[:LIMIT]


def versions(viewer: Viewer, chosen: list[str]) -> list[Version]:
    """The versions named, without those that are gone or no longer to be seen."""
    found = []
    for name in chosen:
        try:
            found.append(access.parse_input(viewer, name, kind=Kind.ADAPTER))
        except HubError:
            continue
    return found
