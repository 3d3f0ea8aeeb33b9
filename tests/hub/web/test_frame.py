"""The frame of every page: the policy that lets nothing inline run, the pages that say no, and the house's rules."""

import ast
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.template.loader import get_template
from django.test import Client

from hub.names import RESERVED
from hub.web.middleware import POLICY
from hub.web.urls import urlpatterns

ROOT = Path(settings.ROOT)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static").glob("*.js"))
VIEWS = sorted((ROOT / "hub/web/views").glob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_templates_need_nothing_the_policy_forbids(path):
    get_template(str(path.relative_to(ROOT / "templates")))
    text = path.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text), "inline script"
    assert not re.search(r"<style|\sstyle=", text), "inline style"
    assert not re.search(r"\son[a-z]+=", text), "inline handler"
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text), "another host"
    assert "|safe" not in text
    assert "autoescape off" not in text
    for static in re.findall(r"static ['\"]([^'\"]+)", text):
        assert finders.find(static), f"{static} is not there"


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_every_form_that_writes_carries_its_token(path):
    for form in re.findall(r"<form\b[^>]*method=\"post\".*?</form>", path.read_text(), re.DOTALL):
        assert "{% csrf_token %}" in form


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_scripts_write_text_and_never_html(path):
    text = path.read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"https?://", text)


@pytest.mark.parametrize("path", VIEWS, ids=name)
def test_views_are_short_and_documented(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 25, f"{node.name} is long: give its work to a page module"
            assert node.name.startswith("_") or ast.get_docstring(node), node.name


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/", "/merge", "/bases", "/sign-in", "/no/such", "/?sort=wrong", "/workers"])
def test_every_answer_carries_the_policy(client, address):
    response = client.get(address)
    assert response.headers["Content-Security-Policy"] == POLICY
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_policy_allows_no_other_host_and_nothing_inline():
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert "frame-ancestors 'none'" in POLICY


@pytest.mark.django_db
def test_a_refusal_is_a_page_that_says_why(client):
    response = client.get("/?rank=many")
    assert response.status_code == 422
    assert "is not a whole number" in response.content.decode()
    assert client.get("/no-such-namespace").status_code == 404


@pytest.mark.django_db
def test_our_own_fault_gives_an_id_and_no_details(monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise RuntimeError("the secret detail")

    monkeypatch.setattr("hub.queries.bases", broken)
    response = Client(raise_request_exception=False).get("/bases")
    text = response.content.decode()
    assert response.status_code == 500
    assert "the secret detail" not in text
    incident = re.search(r"<code[^>]*>([0-9a-f]{16})</code>", text)[1]
    assert incident in caplog.text


@pytest.mark.django_db
def test_a_form_without_its_token_is_refused():
    response = Client(enforce_csrf_checks=True).post("/sign-in", {"username": "a", "password": "b"})
    assert response.status_code == 403
    assert "too old to be trusted" in response.content.decode()


def test_no_namespace_can_take_an_address_of_ours():
    first = {str(entry.pattern).split("/")[0] for entry in urlpatterns}
    assert {word for word in first if word and not word.startswith("<")} <= RESERVED
