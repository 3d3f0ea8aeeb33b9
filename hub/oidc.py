"""What the operator says about signing in by OpenID Connect: the provider, who may come, what their groups give."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from hub.env import env, env_bool, env_int, env_list

ROLES = ("reader", "writer", "admin")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """`groups` is group → [(organisation, role)]; `admins` are groups of administrators, `allowed` those that may come.

    `sign_up` lets people without an account make one by coming; `hours` is how long such a session lasts; after `days`
    without coming, the tokens of a person who has no password pause.
    """

    issuer: str
    client_id: str
    client_secret: str
    name: str
    scopes: str
    groups_claim: str
    name_claim: str
    groups: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    sign_up: bool = True
    hours: int = 12
    days: int = 30


def provider() -> Provider | None:
    """The provider of `HUB_OIDC_…`; None where no issuer is set. ImproperlyConfigured says what is missing or wrong."""
    issuer = env("HUB_OIDC_ISSUER").rstrip("/")
    if not issuer:
        return None
    parts = urlsplit(issuer)
    if not parts.hostname or (parts.scheme != "https" and parts.hostname not in LOOPBACK):
        raise ImproperlyConfigured(f"HUB_OIDC_ISSUER={issuer!r}: use the provider's https address")
    if not env("HUB_OIDC_CLIENT_ID") or not env("HUB_OIDC_CLIENT_SECRET"):
        raise ImproperlyConfigured("HUB_OIDC_ISSUER needs HUB_OIDC_CLIENT_ID and HUB_OIDC_CLIENT_SECRET")
    return Provider(
        issuer=issuer,
        client_id=env("HUB_OIDC_CLIENT_ID"),
        client_secret=env("HUB_OIDC_CLIENT_SECRET"),
        name=env("HUB_OIDC_NAME", parts.hostname),
        scopes=env("HUB_OIDC_SCOPES", "openid profile email"),
        groups_claim=env("HUB_OIDC_GROUPS_CLAIM", "groups"),
        name_claim=env("HUB_OIDC_NAME_CLAIM", "preferred_username"),
        groups=_mapping(env_list("HUB_OIDC_GROUPS", "")),
        allowed=frozenset(env_list("HUB_OIDC_ALLOWED_GROUPS", "")),
        admins=frozenset(env_list("HUB_OIDC_ADMIN_GROUPS", "")),
        sign_up=env_bool("HUB_OIDC_SIGN_UP", True),
        hours=env_int("HUB_OIDC_SESSION_HOURS", 12),
        days=env_int("HUB_OIDC_TOKEN_DAYS", 30),
    )


def _mapping(words: list[str]) -> dict[str, list[tuple[str, str]]]:
    """`group=organisation:role`, each group as often as it gives a role."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word in words:
        group, equals, place = word.rpartition("=")
        organisation, colon, role = place.partition(":")
        if not (group and equals and organisation and colon) or role not in ROLES:
            raise ImproperlyConfigured(
                f"HUB_OIDC_GROUPS holds {word!r}: write group=organisation:role, with a role of {', '.join(ROLES)}"
            )
        found.setdefault(group, []).append((organisation, role))
    return found
