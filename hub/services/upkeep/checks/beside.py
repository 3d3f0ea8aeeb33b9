"""What stands beside repositories: companions with their facts, and accounts with their namespaces."""

from collections.abc import Iterator
from functools import partial
from itertools import chain

from django.db.models import Count, Q

from composition.errors import CompositionError
from hub.models import Companion, Membership, Namespace, Role, User, Visibility
from hub.services import quotas
from hub.services.content.companions import CHECKED, folder, read_facts
from hub.services.content.manifest import Entry
from hub.services.upkeep import batches
from hub.services.upkeep.checks.finding import Finding, Look


def check(look: Look) -> Iterator[Finding]:
    """Every companion, then every user and namespace."""
    for companion in chain.from_iterable(
        batches.rows(Companion.objects.select_related("repository__namespace", "blob"))
    ):
        look.tick("companions")
        found = list(_companion(companion, look))
        if found and Companion.objects.filter(pk=companion.pk).exists():
            yield from found
    yield from _accounts(look)
    for namespace in chain.from_iterable(batches.rows(Namespace.objects.select_related("usage"))):
        look.tick("namespaces")
        if off := quotas.miscounted(namespace):
            yield Finding(
                code="usage.count",
                where=f"namespace {namespace.name}",
                message=f"what it stores is counted wrongly by {off:,} bytes or files",
                repair="count it again",
                mend=partial(quotas.recount, namespace),
            )


def _companion(companion: Companion, look: Look) -> Iterator[Finding]:
    where = f"{companion.repository.path} {companion}"
    rows = Companion.objects.filter(pk=companion.pk)
    shown = set(folder(companion).values_list("visibility", flat=True))
    odd = companion.visibility not in Visibility.values or len(shown) > 1
    if odd and companion.visibility != Visibility.PRIVATE:
        yield Finding(
            code="companion.visibility",
            where=where,
            message=f"it is {companion.visibility!r}, unlike its folder",
            repair="make it private",
            mend=partial(rows.update, visibility=Visibility.PRIVATE),
        )
    said = companion.facts.get("sha256")
    last = companion.name.rpartition("/")[2]
    if isinstance(said, dict) and said.get(last, companion.blob_id) != companion.blob_id:
        message = "its facts name other bytes than it has; make it again"
        yield Finding(code="companion.digest", where=where, message=message)
    if companion.kind in CHECKED and not look.quick and companion.blob_id not in look.bad:
        try:
            facts = read_facts(companion.kind, companion.name, Entry(companion.blob_id, companion.blob.size))
        except CompositionError as error:
            yield Finding(code="companion.invalid", where=where, message=f"its rows can't be read: {error}")
        else:
            if any(companion.facts.get(name) != value for name, value in facts.items()):
                yield Finding(
                    code="companion.facts",
                    where=where,
                    message="its facts are not what its rows give",
                    repair="read them from the rows again",
                    mend=partial(rows.update, facts={**companion.facts, **facts}),
                )


def _accounts(look: Look) -> Iterator[Finding]:
    for user in chain.from_iterable(batches.rows(User.objects.filter(namespace=None))):
        look.tick("users")
        message = "they have no namespace of their own, so they can't push"
        yield Finding(code="user.namespace", where=f"user {user.username}", message=message)
    owners = Q(memberships__role=Role.ADMIN)
    lost = Namespace.objects.annotate(admins=Count("memberships", filter=owners)).filter(admins=0)
    for namespace in chain.from_iterable(batches.rows(lost)):
        look.tick("namespaces")
        where = f"namespace {namespace.name}"
        if namespace.owner_id is None:
            yield Finding(code="namespace.admin", where=where, message="the organisation has no admin left")
            continue
        yield Finding(
            code="namespace.admin",
            where=where,
            message="its owner is not its admin",
            repair="make its owner its admin",
            mend=partial(
                Membership.objects.update_or_create,
                namespace=namespace,
                user_id=namespace.owner_id,
                defaults={"role": Role.ADMIN},
            ),
        )
