"""Which revisions are a repository's own history: what was only proposed, by a pull request, stays at home."""

from django.db.models import QuerySet

from hub.models import Ref, RefKind, Repository, Revision


def own_history(repository: Repository) -> QuerySet[Revision]:
    """The revisions without those that nothing but a pull request leads to; with each its parents are in it."""
    every = Revision.objects.filter(repository=repository)
    proposed = set(Ref.objects.filter(repository=repository, kind=RefKind.PULL).values_list("revision", flat=True))
    if not proposed:
        return every
    rows = list(every.order_by("-pk").values_list("pk", "parent", "version"))
    parents = {pk: parent for pk, parent, _ in rows}
    made = {version: pk for pk, _, version in rows if version}  # of each version its first revision
    named = Ref.objects.filter(repository=repository).exclude(kind=RefKind.PULL)
    todo = {*named.values_list("revision", flat=True), *made.values()}
    todo |= set(parents) - set(parents.values()) - proposed
    kept: set[int] = set()
    while todo:
        pk = todo.pop()
        if pk is not None and pk not in kept:
            kept.add(pk)
            todo.add(parents[pk])
    return every.exclude(pk__in=set(parents) - kept)
