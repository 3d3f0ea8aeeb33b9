"""The dance with the OpenID Connect provider, by Authlib: authorization code with PKCE, state and nonce.

Authlib checks the ID token: signature by the provider's keys, issuer, audience, nonce and expiry. The provider is asked
for its addresses once a process.
"""

from collections.abc import Mapping
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from hub.errors import HubError, NotSignedIn

SECONDS = 10


class ProviderAway(HubError):
    """The provider can't be reached, or answers what no provider does."""

    status, code = 502, "oidc.away"


def begin(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider. ProviderAway where it has no addresses to send to."""
    with _speaking():
        return _client().authorize_redirect(request, _back(request))


def end(request: HttpRequest) -> Mapping[str, object]:
    """The claims of the person who came back, with those of the user-info address where the token lacks the groups.

    NotSignedIn where the answer is not to a question of this browser, or says that the person refused.
    """
    with _speaking():
        token = _client().authorize_access_token(request)
        claims = dict(token.get("userinfo") or {})
        if settings.OIDC.groups_claim not in claims and _client().server_metadata.get("userinfo_endpoint"):
            more = _client().userinfo(token=token)
            if more.get("sub") == claims.get("sub"):
                claims = {**more, **claims}
    return claims


def _back(request: HttpRequest) -> str:
    """Where the provider sends the browser; it must know this address."""
    path = reverse("oidc_back")
    return f"{settings.HUB_URL}{path}" if settings.HUB_URL else request.build_absolute_uri(path)


@cache
def _client():
    from authlib.integrations.django_client import OAuth

    provider = settings.OIDC
    return OAuth().register(
        name="oidc",
        client_id=provider.client_id,
        client_secret=provider.client_secret,
        server_metadata_url=f"{provider.issuer}/.well-known/openid-configuration",
        client_kwargs={
            "scope": provider.scopes,
            "code_challenge_method": "S256",
            "default_timeout": SECONDS,
        },
    )


def forget() -> None:
    """Ask for the provider's addresses again."""
    _client.cache_clear()


class _speaking:
    """What can go wrong between us and the provider, as our refusals."""

    def __enter__(self) -> None:
        from authlib.common.errors import AuthlibBaseError
        from joserfc.errors import JoseError
        from requests import RequestException

        self.refused, self.away = (AuthlibBaseError, JoseError), (RequestException, KeyError, ValueError)

    def __exit__(self, kind, error, _) -> None:
        if isinstance(error, self.refused):
            raise NotSignedIn(
                f"{settings.OIDC.name} did not sign you in ({getattr(error, 'error', '') or kind.__name__}). Go back "
                "to the sign-in page and try again.",
                code="oidc.refused",
            ) from error
        if isinstance(error, self.away):
            forget()
            raise ProviderAway(
                f"{settings.OIDC.name} can't be reached at the moment, or answers in a way that can't be read. Try "
                "again in a minute, or sign in with your password.",
            ) from error
