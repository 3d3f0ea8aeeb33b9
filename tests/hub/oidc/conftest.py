"""A live OpenID Connect provider on loopback, and a browser that goes to it and back."""

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pytest
import requests
from django.test import Client
from oidc_provider_mock import run_server_in_thread

from hub.http import oidc_client
from hub.oidc import Provider
from tests.hub.factories import PASSWORD


class Browser:
    """A person's browser: the hub's pages by Django's client, the provider's by HTTP."""

    def __init__(self, issuer: str) -> None:
        self.issuer, self.http = issuer, Client()

    def person(self, subject: str, **claims: object) -> None:
        """What the provider knows of this person from now on."""
        assert requests.put(f"{self.issuer}/users/{subject}", json=claims, timeout=30).ok

    def leave(self, path: str = "/sign-in/oidc") -> str:
        """Begin at the hub; the provider's address it sends to."""
        return self.http.get(path).headers["Location"]

    def allow(self, address: str, subject: str, **changes: str) -> str:
        """Sign in at the provider; the path and query of the hub's address that it sends back to."""
        parts = urlsplit(address)
        query = dict(parse_qsl(parts.query)) | changes
        form = urlunsplit(parts._replace(query=urlencode(query)))
        answer = requests.post(form, data={"sub": subject}, allow_redirects=False, timeout=30)
        back = urlsplit(answer.headers["Location"])
        return f"{back.path}?{back.query}"

    def come(self, subject: str, path: str = "/sign-in/oidc"):
        """The whole way; the hub's answer."""
        return self.http.get(self.allow(self.leave(path), subject))

    def connect(self, subject: str, **given: str):
        """From the account page, after the password; the hub's answer."""
        page = self.http.post("/account/connections", {"password": PASSWORD, **given})
        assert b'content="0; url=/sign-in/oidc"' in page.content
        return self.come(subject)

    def name(self) -> str | None:
        """Who is signed in, by the account page."""
        page = self.http.get("/account").content.decode()
        found = re.search(r"signed in as <strong>([^<]+)</strong>", page)
        return found and found[1]


@pytest.fixture(scope="session")
def issuer():
    with run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def provider(settings, issuer):
    """The hub's settings for it; a test replaces what it needs by `settings.OIDC = replace(provider, …)`."""
    settings.OIDC = Provider(
        issuer=issuer,
        client_id="hub",
        client_secret="secret",
        name="Works",
        scopes="openid profile email",
        groups_claim="groups",
        name_claim="preferred_username",
    )
    oidc_client.forget()
    yield settings.OIDC
    oidc_client.forget()


@pytest.fixture
def browser(issuer, provider) -> Browser:
    return Browser(issuer)
