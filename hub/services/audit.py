"""The audit log's one writer."""

from hub.models import Event, User


def record(actor: User | None, verb: str, object: object, **detail: object) -> None:
    """Note that `actor` did `verb` to `object`; `detail` is kept as JSON."""
    Event.objects.create(actor=actor, verb=verb, object=str(object)[:300], detail=detail)
