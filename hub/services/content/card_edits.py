"""Editing a repository's card on main, without overwriting what someone else changed meanwhile."""

import io

from hub import disk
from hub.errors import Conflict, Invalid
from hub.models import Repository, User
from hub.services.content.manifest import CARD
from hub.services.content.publishing import MAIN, PublishResult, head_of, publish
from hub.storage import blobs


def edit_card(
    *, actor: User, repository: Repository, text: str, since: str, message: str = "", may_protected: bool = False
) -> PublishResult:
    """Put `text` into README.md of main; `since` is the revision it was read at, "" for an empty branch.

    Raises Conflict where main has moved on, Invalid for an empty text, and what publishing raises.
    """
    head = head_of(repository, MAIN)
    if since != (head.oid if head else ""):
        raise Conflict("The card was changed while you edited. Copy your text, reload the page and paste it in again.")
    if not text.strip():
        raise Invalid("The card is empty; write something, or go back without saving.", field="text")
    disk.require_room()
    stored = blobs.put(io.BytesIO(text.encode()))
    message = message.strip() or "Edit the card"
    change = {"files": {CARD: stored}, "message": message, "since": head, "may_protected": may_protected}
    return publish(actor=actor, repository=repository, **change)
