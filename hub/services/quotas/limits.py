"""Refusing what is over a limit, and setting limits for one namespace or user."""

from collections.abc import Callable

from django.conf import settings
from django.db import transaction

from hub.errors import Invalid, PermissionDenied, QuotaExceeded
from hub.models import Namespace, Quota, User
from hub.queries.quota import LIMITS, OF_NAMESPACES, OF_USERS, Limit, limits_of
from hub.services.audit import record
from hub.services.content.manifest import MAX_FILES

MOST = 2**62


def require(
    name: str, subject: Namespace | User, *, needed: int = 1, hold: bool = True, facts: Callable[[], dict] = dict
) -> None:
    """Refuse `needed` more of what the limit counts; QuotaExceeded `quota.NAME`, with `facts()` for programs.

    Call it in the transaction that makes them: the subject's row is locked to its end, unless `hold` is False because
    nothing is made yet.
    """
    limit = limits_of(subject)[name]
    if not limit or not needed:
        return
    if hold:
        lock(subject)
    used = LIMITS[name].count(subject)
    if used + needed > limit:
        raise exceeded(LIMITS[name], subject, used=used, limit=limit, needed=needed, **facts())


def lock(subject: Namespace | User) -> None:
    """Hold the row of a namespace or user to the end of the transaction. Rows that refer to it may still be made."""
    subject._meta.model.objects.select_for_update(no_key=True, of=("self",)).filter(pk=subject.pk).first()


def exceeded(
    kind: Limit, subject: Namespace | User, *, used: int, limit: int, needed: int, **facts: object
) -> QuotaExceeded:
    """The refusal: whose limit, how much of it is used and needed, what to do."""
    whose = subject.name if isinstance(subject, Namespace) else subject.username
    said = [_bytes(number) if kind.bytes else f"{number:,}" for number in (used, limit, needed)]
    what = "" if kind.bytes else f" {kind.label}"
    of = f" ({kind.label})" if kind.bytes else ""
    return QuotaExceeded(
        f"{whose} has {said[0]} of at most {said[1]}{what}{of}, and this needs {said[2]} more. {kind.advice}",
        code=f"quota.{kind.name}",
        used=used,
        limit=limit,
        needed=needed,
        **facts,
    )


def _bytes(number: int) -> str:
    return f"{number / 1e6:,.1f} MB" if number >= 100_000 else f"{number:,} bytes"


@transaction.atomic
def set_quota(
    *, actor: User, namespace: Namespace | None = None, user: User | None = None, **limits: int | None
) -> Quota | None:
    """Set limits of one namespace or one user in place of the settings'; 0 is none, None takes one back.

    For administrators of the site. Returns the row, or None where nothing differs from the settings any more.
    """
    subject = namespace or user
    if subject is None or (namespace and user):
        raise TypeError("give a namespace or a user")
    if not actor.is_staff:
        raise PermissionDenied("Only an administrator of this hub sets limits; ask one of them.", code="site_admin")
    names = [limit.name for limit in (OF_NAMESPACES if namespace else OF_USERS)]
    for name, value in limits.items():
        _check(name, value, names)
    key = {"namespace": namespace, "user": user}
    lock(subject)
    row = Quota.objects.filter(**key).first() or Quota(**key)
    merged = {**row.limits, **limits}
    row.limits = {name: value for name, value in merged.items() if value is not None}
    whose = {"namespace": namespace} if namespace else {}
    record(actor, "quota.set", f"{subject}", **whose, limits=limits)
    if not row.limits:
        Quota.objects.filter(**key).delete()
        return None
    row.save()
    return row


def _check(name: str, value: int | None, names: list[str]) -> None:
    if name not in names:
        raise Invalid(f"{name!r} is not a limit here; choose one of {', '.join(names)}.", field=name[:100])
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
        raise Invalid(f"{name} is {value!r}; give a whole number, 0 for no limit.", field=name)
    if name == "files_per_revision" and not 0 < value <= MAX_FILES:
        raise Invalid(f"{name} is {value}; give 1 to {MAX_FILES}, the most a revision can hold.", field=name)


def aliases_exceeded(base: object, used: int) -> QuotaExceeded:
    """The refusal of one more alias of a base."""
    return QuotaExceeded(
        f"{base} already has {used} aliases of at most {settings.ALIASES_A_BASE}. Register another base, or ask an "
        "administrator of this hub for a higher limit.",
        code="quota.aliases",
        field="aliases",
        used=used,
        limit=settings.ALIASES_A_BASE,
        needed=1,
    )
