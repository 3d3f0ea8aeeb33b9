"""Permits: what a client carries in place of its token, for one repository and a short time, signed by this hub.

The client sends the bodies of LFS files without its token, and gives the address of chunks a token of its own. A permit
names the token that it was given for. Whether that one is still good, and what its user may do in the repository, is
asked again whenever the permit is used.
"""

from dataclasses import dataclass

from django.core import signing

from hub import access
from hub.access import Viewer
from hub.errors import HubError, NotFound
from hub.models import ChunkStore, Repository, Token, User
from hub.services import tokens

SALT = "hub.hf.permits"


class PermitRefused(HubError):
    """A permit that is not one, has expired, or says more than its user may do by now."""

    status, code = 403, "permit.refused"


@dataclass(frozen=True, slots=True)
class Permit:
    """Who may do it, where, and the facts that were signed."""

    user: User | None
    repository: Repository
    facts: list


def sign(purpose: str, token: Token | None, repository: Repository, need: str, *facts: str | int) -> str:
    """A permit for `purpose`: text for an address or a header. `need` is what the user must be allowed to do.

    Without a token it is for what anyone may do.
    """
    return signing.dumps([token and token.pk, repository.pk, need, *facts], salt=f"{SALT}.{purpose}")


def read(purpose: str, text: str, *, seconds: int | None, status: int = 403) -> Permit:
    """What a permit allows; one that is older than `seconds` doesn't, None for any age. Errors: PermitRefused."""
    try:
        token_pk, repository_pk, need, *facts = signing.loads(text, salt=f"{SALT}.{purpose}", max_age=seconds)
    except signing.SignatureExpired:
        raise _refused("This permit has expired. Ask for another one, and send the rest.", status) from None
    except (signing.BadSignature, ValueError):
        raise _refused("This needs a permit of this hub. Begin the upload anew.", status) from None
    token = tokens.still_living(token_pk) if token_pk else None
    found = Repository.objects.filter(pk=repository_pk).select_related("namespace").first()
    if found is None or (token_pk and token is None):
        raise _refused("This permit is no longer good: its token or its repository is gone.", status)
    viewer = access.viewer_of_token(token) if token else access.ANONYMOUS
    return Permit(viewer.user, _may(viewer, found, need, status), facts)


def chunk_store(permit: Permit, pk: object) -> ChunkStore:
    """The store of this number that the permit's user fills for its repository; NotFound where there is none."""
    found = ChunkStore.objects.filter(pk=pk, user=permit.user, repository=permit.repository).first()
    if found is None:
        raise NotFound("There is no such upload; begin it anew.", code="arrival.store_gone")
    found.user, found.repository = permit.user, permit.repository
    return found


def _may(viewer: Viewer, repository: Repository, need: str, status: int) -> Repository:
    try:
        return access.repository(viewer, repository.place, repository.name, need, exact=True)
    except HubError:
        raise _refused("Your role in this repository no longer allows this.", status) from None


def _refused(message: str, status: int) -> PermitRefused:
    refused = PermitRefused(message)
    refused.status = status
    return refused
