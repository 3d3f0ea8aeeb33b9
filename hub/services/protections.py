"""Protected refs: names and patterns of tags and branches that only admins create, move and delete.

A rule belongs to a repository, or to a namespace and then holds in all its repositories. It is read under the
repository's lock by whoever moves a ref, and written under the same lock: a rule that was answered for holds for every
move that ends after it.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from django.db import IntegrityError, transaction
from django.db.models import Q

from hub.errors import Conflict, HubError, Invalid, NotFound
from hub.models import Namespace, ProtectedRef, Repository, User
from hub.names import REF_PATTERN
from hub.services.audit import record

MAX_RULES = 100


class Protected(HubError):
    """The ref is protected, and who asks is no admin here, or has a token without the scope admin, or is a job."""

    status, code = 403, "ref.protected"


def matches(pattern: str, name: str) -> bool:
    """Whether the ref `name` is meant by `pattern`: * stands for any characters, '/' included."""
    return fnmatchcase(name, pattern)


def protecting(namespace: Namespace, repository: Repository | None, names: Sequence[str]) -> tuple[str, str] | None:
    """(the first of these refs that is protected, the pattern that says so), or None."""
    place = Q(namespace=namespace) | Q(repository=repository) if repository else Q(namespace=namespace)
    patterns = list(ProtectedRef.objects.filter(place).order_by("pk").values_list("pattern", flat=True))
    found = ((name, pattern) for name in names for pattern in patterns if matches(pattern, name))
    return next(found, None)


def require(
    namespace: Namespace, repository: Repository | None, names: Sequence[str], *, may_protected: bool, name: str = ""
) -> None:
    """Raise Protected where one of these refs is protected and the asker may not move it (`may_protected` False)."""
    if may_protected or not (found := protecting(namespace, repository, names)):
        return
    ref, pattern = found
    where = repository.path if repository else f"{namespace.name}/{name}"
    raise Protected(
        f"{ref!r} is protected in {where} (rule {pattern!r}): only admins of {namespace.name} create, move or delete "
        "it, with a token of the scope admin, and no job does. Use another name, or ask an admin.",
        ref=ref,
        pattern=pattern,
    )


@transaction.atomic
def protect(*, actor: User, place: Repository | Namespace, pattern: str) -> ProtectedRef:
    """Protect the refs that `pattern` names, in a repository or in all of a namespace. Again changes nothing."""
    if not REF_PATTERN.fullmatch(pattern):
        raise Invalid(
            f"{pattern[:80]!r} is no pattern for refs: use letters, digits, '.', '_', '-', '/' and * for any "
            "characters, at most 200, such as production or release-*.",
            field="pattern",
        )
    key = _locked(place)
    rule = ProtectedRef.objects.filter(**key, pattern=pattern).first()
    if rule:
        return rule
    if ProtectedRef.objects.filter(**key).count() >= MAX_RULES:
        raise Conflict(f"{place} has {MAX_RULES} rules, the most there may be; use a pattern with * for several names.")
    try:
        with transaction.atomic():
            rule = ProtectedRef.objects.create(**key, pattern=pattern, created_by=actor)
    except IntegrityError:
        return ProtectedRef.objects.get(**key, pattern=pattern)
    record(actor, "ref.protect", place, pattern=pattern)
    return rule


@transaction.atomic
def unprotect(*, actor: User, place: Repository | Namespace, pattern: str) -> None:
    """Take a rule away; NotFound where `place` itself has none of this pattern."""
    deleted, _ = ProtectedRef.objects.filter(**_locked(place), pattern=pattern).delete()
    if not deleted:
        hint = "; a rule of its namespace is taken away there" if isinstance(place, Repository) else ""
        raise NotFound(f"{place} has no rule {pattern!r}{hint}.", code="rule_not_found")
    record(actor, "ref.unprotect", place, pattern=pattern)


def _locked(place: Repository | Namespace) -> dict:
    """The key of the place's rules, with every repository they hold in locked against moves of refs.

    The namespace's lock holds up who makes a repository there. It is not one for its key, which any event of a move
    that is under way still refers to.
    """
    if isinstance(place, Repository):
        Repository.objects.select_for_update(of=("self",)).get(pk=place.pk)
        return {"repository": place}
    Namespace.objects.select_for_update(of=("self",), no_key=True).get(pk=place.pk)
    rows = Repository.objects.select_for_update(of=("self",)).filter(namespace=place).order_by("pk")
    list(rows.values_list("pk", flat=True))
    return {"namespace": place}
