"""Where a result goes, and who may see it: asked when a job is prepared, and again when it is published."""

from collections.abc import Sequence

from hub import access
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import Namespace, Repository, Version, Visibility, sharing_names
from hub.names import check_repository
from hub.services import protections
from hub.services.jobs.kinds.base import JobKind, a
from hub.services.jobs.request import JobRequest


def check_output(
    viewer: Viewer,
    kind: JobKind,
    label: str,
    output: tuple[str, str] | None,
    parents: Sequence[Version],
    asked: str | None = None,
) -> tuple[Namespace, str]:
    """A free name, or a repository of the kind's that the viewer may write to; `label` is the method's.

    Raises Invalid, and NotFound or PermissionDenied for the namespace; Protected where a result would move a protected
    ref: a job acts by no token, so it never has the scope for that.
    """
    if not output or not all(output):
        raise Invalid(f"{label} makes {a(kind.makes)}; say where it goes: namespace/name.", field="output")
    namespace = access.namespace(viewer, str(output[0]))
    name = check_repository(output[1])
    named = Repository.objects.filter(sharing_names(kind.makes), namespace=namespace, name__iexact=name)
    taken = named.filter(deleted_at=None).first()
    access.require_role(viewer, taken or namespace, "write", namespace.name)
    protections.require(namespace, taken, kind.moves, may_protected=False, name=name)
    if taken is None:
        return namespace, name
    if taken.kind != kind.makes:
        raise Invalid(f"{taken.path} is {a(taken.kind)}; the result is {a(kind.makes)}.", field="output")
    if taken.visibility == Visibility.PUBLIC and resulting_visibility(parents, asked) == Visibility.PRIVATE:
        raise Invalid(
            f"{taken.path} is public, but {_why_private(kind, parents)}. "
            "Choose another name, or make it private first.",
            code="output.too_public",
            field="output",
        )
    return namespace, taken.name


def place_of(kind: JobKind, request: JobRequest) -> tuple[str, str] | None:
    """Where a result goes: where its kind puts it, else where the asker says. Invalid where the two differ."""
    own, asked = kind.place(request), request.output
    if own and asked and all(asked) and [part.lower() for part in asked] != [part.lower() for part in own]:
        raise Invalid(
            f"The result is kept beside {'/'.join(own)}, not at {'/'.join(asked)}. Leave the output out.",
            field="output",
        )
    return own or asked


def resulting_visibility(parents: Sequence[Version], asked: str | None = None) -> str:
    """The strictest of the one asked for and what the parents ask: of private and of gated ones comes a private one.

    Who is let in to a gated parent is not let in to a repository of somebody else's.
    """
    check_visibility(asked)
    restricted = any(version.repository.is_restricted for version in parents)
    return Visibility.PRIVATE if restricted or asked == Visibility.PRIVATE else Visibility.PUBLIC


def check_visibility(asked: str | None) -> None:
    """Refuse another word than public or private; None and "" ask for nothing."""
    if asked not in (None, "", *Visibility.values):
        raise Invalid(f"{asked!r} is not a visibility; choose public or private.", field="visibility")


def _why_private(kind: JobKind, parents: Sequence[Version]) -> str:
    if resulting_visibility(parents) == Visibility.PRIVATE:
        found = next(one.repository for one in parents if one.repository.is_restricted)
        how = "private" if found.visibility == Visibility.PRIVATE else "gated"
        return f"what is made of a {how} {found.kind} is private"
    return kind.why_private()
