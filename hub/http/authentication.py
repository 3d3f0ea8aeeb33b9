"""Who asks: a program by `Authorization: Bearer ah_…`, or a person's browser by its session (with CSRF).

Scopes are not looked at here but in `hub.api.view`, for every way of signing in alike.
"""

from django.middleware.csrf import get_token
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions

from hub.errors import PermissionDenied
from hub.models import Token
from hub.services.tokens import token_user

CHALLENGE = 'Bearer realm="hub"'


class TokenAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer <secret>`; an unknown, expired or revoked secret is 401, never an anonymous visit."""

    def authenticate(self, request) -> tuple[object, Token] | None:
        header = authentication.get_authorization_header(request).decode("latin-1").split()
        if not header:
            return None
        if header[0].lower() != "bearer" or len(header) != 2:
            raise exceptions.AuthenticationFailed(
                "The Authorization header can't be read: send `Authorization: Bearer <token>`.", "token.malformed"
            )
        return self.by_secret(header[1])

    def by_secret(self, secret: str) -> tuple[object, Token]:
        """The token of this secret, and its user."""
        token = token_user(secret)
        if token is None or not token.user.is_active:
            raise exceptions.AuthenticationFailed(
                "This token is unknown, expired or revoked: sign in again, or make a new one on the tokens page.",
                "token.invalid",
            )
        return token.user, token

    def authenticate_header(self, request) -> str:
        return CHALLENGE


class SessionAuthentication(authentication.SessionAuthentication):
    """The signed-in browser; every unsafe call carries the page's CSRF token."""

    def authenticate(self, request):
        found = super().authenticate(request)
        if found:
            get_token(request._request)  # sets the cookie, so that the docs page can send it back
        return found

    def enforce_csrf(self, request) -> None:
        try:
            super().enforce_csrf(request)
        except exceptions.PermissionDenied as refusal:
            raise PermissionDenied(
                "The page's CSRF token is missing or old: reload the page and try again.", code="csrf"
            ) from refusal


class TokenScheme(OpenApiAuthenticationExtension):
    """How OpenAPI names the bearer token."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema) -> dict:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A token from the tokens page or from POST /sign-in.",
        }


class SessionScheme(OpenApiAuthenticationExtension):
    """How OpenAPI names the browser's session."""

    target_class = SessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema) -> dict:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
