"""HTTPS: secure cookies, HSTS, the redirect; and whose word on it is believed."""

import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.test import Client, override_settings

from hub.front.peers import address_of, holder, networks
from tests.hub import factories

HTTPS = {"SECURE_SSL_REDIRECT": True, "SECURE_HSTS_SECONDS": 1000, "SESSION_COOKIE_SECURE": True}
SECURE = {"X-Forwarded-Proto": "https"}


def visit(path: str, peer: str = "10.0.0.1", **headers: str):
    with override_settings(**HTTPS, TRUSTED_PROXIES=networks(["10.0.0.0/8"]), ALLOWED_HOSTS=["hub.example"]):
        return Client(REMOTE_ADDR=peer, HTTP_HOST="hub.example").get(path, headers=headers)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/bases", "/api/v1/methods"])
def test_http_is_sent_to_https_and_https_is_kept(path):
    sent = visit(path)
    assert (sent.status_code, sent["Location"]) == (301, f"https://hub.example{path}")
    secure = visit(path, **SECURE)
    assert secure.status_code == 200
    assert secure["Strict-Transport-Security"] == "max-age=1000"
    assert "Strict-Transport-Security" not in sent


@pytest.mark.parametrize("peer", ["203.0.113.5", "", "::1"])
def test_a_stranger_can_not_say_that_it_is_https(peer):
    assert visit("/bases", peer, **SECURE).status_code == 301


@pytest.mark.django_db
def test_a_trusted_proxy_that_says_http_is_believed_too():
    assert visit("/bases", **{"X-Forwarded-Proto": "http"}).status_code == 301


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_is_not_sent_elsewhere(path):
    assert visit(path).status_code != 301


@pytest.mark.django_db
def test_a_form_by_https_needs_no_list_of_trusted_origins():
    factories.make_user("ada")
    with override_settings(**HTTPS, TRUSTED_PROXIES=networks(["10.0.0.0/8"]), ALLOWED_HOSTS=["hub.example"]):
        client = Client(enforce_csrf_checks=True, REMOTE_ADDR="10.0.0.1", HTTP_HOST="hub.example")
        page = client.get("/sign-in", headers=SECURE)
        token = page.context["csrf_token"]
        form = {"username": "ada", "password": factories.PASSWORD, "csrfmiddlewaretoken": str(token)}
        ours, theirs = ({**SECURE, "Origin": f"https://{host}"} for host in ("hub.example", "evil.example"))
        assert client.post("/sign-in", form, headers=theirs).status_code == 403
        signed_in = client.post("/sign-in", form, headers=ours)
    assert signed_in.status_code == 302
    assert signed_in.cookies["sessionid"]["secure"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "False False 0"),
        ({"HUB_HTTPS": "True"}, "True False 31536000"),
        ({"HUB_HTTPS": "True", "HUB_TRUSTED_PROXIES": "10.0.0.0/8"}, "True True 31536000"),
        ({"HUB_HTTPS": "True", "HUB_HTTPS_REDIRECT": "True", "HUB_HSTS_SECONDS": "0"}, "True True 0"),
        ({"HUB_TRUSTED_PROXIES": "10.0.0.0/8"}, "False False 0"),
        ({"HUB_WEB_THREADS": "0"}, "HUB_WEB_THREADS=0: use a number above 0"),
        ({"HUB_TRUSTED_PROXIES": "proxy"}, "HUB_TRUSTED_PROXIES: 'proxy' does not appear to be"),
    ],
)
def test_what_the_settings_make_of_it(given, expected, tmp_path):
    code = "from hub import settings as s; print(s.SESSION_COOKIE_SECURE, s.SECURE_SSL_REDIRECT, s.SECURE_HSTS_SECONDS)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    environment |= {"HUB_DATA": str(tmp_path), **given}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=settings.ROOT, capture_output=True, text=True)
    assert expected in done.stdout + done.stderr


TRUSTED = networks(["10.0.0.0/8", "192.168.1.1", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.5", "", "203.0.113.5"),
        ("203.0.113.5", "1.2.3.4", "203.0.113.5"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("::ffff:10.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.5, 192.168.1.1", "203.0.113.5"),
        ("10.0.0.1", "192.168.1.1, 10.0.0.2", "192.168.1.1"),
        ("10.0.0.1", "203.0.113.5, nonsense", "10.0.0.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("unix:", "203.0.113.5", "unix:"),
    ],
)
def test_the_address_is_the_last_one_that_a_trusted_proxy_names(peer, forwarded, address):
    assert address_of(peer, forwarded, TRUSTED) == address


def test_one_customer_of_ipv6_is_one_holder():
    assert holder("2001:db8:1:2::1") == holder("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert holder("2001:db8:1:3::1") != holder("2001:db8:1:2::1")
    assert holder("::ffff:203.0.113.5") == holder("203.0.113.5") == "203.0.113.5"
