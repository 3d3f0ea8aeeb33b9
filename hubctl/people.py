"""The part of the client that is about its user: signing in, tokens, what is used."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from hubctl.requests import part
from hubctl.transport import Transport


class Asks(Protocol):
    """What these calls need of the client."""

    transport: Transport

    def _get(self, path: str) -> Any: ...

    def _post(self, path: str, body: Any) -> Any: ...

    def _delete(self, path: str) -> None: ...

    def _pages(self, path: str, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]: ...


class People:
    """Calls about the user behind the token."""

    def sign_in(
        self: Asks,
        username: str,
        password: str,
        *,
        code: str = "",
        name: str = "hubctl",
        scopes: Sequence[str] = (),
        days: int = 90,
    ) -> str:
        """A new token for this user; later requests of this object send it.

        A user with a second factor gives its one-time code, or a recovery code, as `code`; without it Forbidden is
        raised with the code `sign_in.code_needed`.
        """
        body = {"username": username, "password": password, "name": name, "expires_in_days": days}
        if code:
            body["code"] = code
        body["scopes"] = list(scopes) or ["read", "write", "admin"]
        token: str = self._post("/sign-in", body)["token"]
        self.transport.close()
        self.transport.token = token
        return token

    def me(self: Asks) -> dict[str, Any]:
        """The user behind the token."""
        return self._get("/me")

    def usage(self: Asks, namespace: str | None = None) -> dict[str, Any]:
        """What a namespace, or without a name the user, has used: {name, limits: [{name, used, limit}]}."""
        return self._get(f"/namespaces/{part(namespace)}/usage" if namespace else "/me/usage")

    def tokens(self: Asks) -> list[dict[str, Any]]:
        """The user's tokens, without their secrets."""
        return list(self._pages("/tokens"))

    def create_token(
        self: Asks,
        name: str,
        scopes: Sequence[str],
        days: int = 90,
        *,
        namespace: str | None = None,
        repository: str | None = None,
    ) -> dict[str, Any]:
        """A token, limited to a namespace or a repository where one is given; its secret is in `token`, this once."""
        limit = {"namespace": namespace, "repository": repository}
        return self._post("/tokens", {"name": name, "scopes": list(scopes), "expires_in_days": days, **limit})

    def revoke_token(self: Asks, token_id: int) -> None:
        """End a token at once."""
        self._delete(f"/tokens/{token_id}")
