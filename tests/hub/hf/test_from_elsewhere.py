"""Hub to hub: what `hubctl import` and `hubctl base add --from` bring, with two live servers on loopback."""

import json
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from types import SimpleNamespace

import pytest
from django.conf import settings as django_settings
from django.db import connection
from huggingface_hub import constants

from hub.models import BaseModel, Repository
from hubctl.client import Hub
from hubctl.errors import Unreachable
from tests.hub import factories
from tests.hub.front.wire import granian
from tests.hub.front.wire import served as serving
from tests.hub.hf.test_base_files import WEIGHTS
from tests.hub.hf.test_base_files import push as push_base
from tests.hubctl.conftest import make_token

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="the other hub has a copy of the database's file"),
]


@pytest.fixture
def elsewhere(served, ada, tmp_path, settings):
    """Another hub, in a process of its own: `lab/dates`, and `lab/secret` which is private."""
    factories.make_base()
    lab = factories.make_organisation("lab", admin=ada)
    for name, visibility in (("dates", "public"), ("secret", "private")):
        made = factories.make_repository(ada, name, namespace=lab, visibility=visibility)
        card = "---\nlicense: mit\n---\n# Dates\n"
        factories.publish(ada, made, factories.adapter_files(rank=4, seed=1, card=card))
    served_base = factories.make_base("Pico/Served", created_by=ada, license="mit")
    config = json.dumps(factories.PICO_CONFIG).encode()
    push_base(served_base, {"config.json": config, "model.safetensors": WEIGHTS})
    token = make_token(ada)
    data = tmp_path / "elsewhere"
    data.mkdir()
    there = data / "hub.sqlite3"
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as old, closing(sqlite3.connect(there)) as new:
        old.backup(new)
    shutil.copytree(settings.STORAGES["blobs"]["OPTIONS"]["location"], data / "blobs")
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{there}",
        "DJANGO_SETTINGS_MODULE": "tests.hub.front.settings",
        "HUB_DATA": str(data),
        "HUB_SECRET_KEY": django_settings.SECRET_KEY,
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    with serving(granian("hub.wsgi:application", "wsgi"), environment, tmp_path / "elsewhere.log") as port:
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", token=token)


@pytest.fixture
def bob(elsewhere, hubctl, served, monkeypatch):
    """`bob`, signed in to the hub of this process, and the stock library online."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    user = factories.make_user("bob")
    assert hubctl("login", served, "--token", make_token(user)).code == 0
    return user


def test_adapters_come_from_another_hub_after_a_plan_and_a_second_time_nothing_moves(
    bob, elsewhere, hubctl, tmp_path, monkeypatch
):
    there = elsewhere.url
    given = ("import", "lab", "--endpoint", there)
    planned = hubctl(*given)
    assert planned.code == 0 and "--yes" in planned.err, planned.err
    assert "lab/dates" in planned.out and "mit" in planned.out and "secret" not in planned.out
    mine = Repository.objects.filter(namespace=bob.namespace)
    assert not mine.exists()

    monkeypatch.setenv("HUBCTL_SOURCE_TOKEN", "ah_no_token_of_that_hub")
    refused = hubctl(*given)
    assert (refused.code, "HUBCTL_SOURCE_TOKEN" in refused.err) == (3, True), refused.err
    monkeypatch.setenv("HUBCTL_SOURCE_TOKEN", elsewhere.token)
    push, pushed = Hub.push, []

    def cut(hub, *what, **options):
        pushed.append(what)
        if len(pushed) == 2:
            raise Unreachable("the wire was cut")
        return push(hub, *what, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Hub, "push", cut)
        assert hubctl(*given, "--yes").code == 6 and mine.count() == 1
    done = hubctl(*given, "--yes", "--json")
    assert done.code == 0, done.err
    rows = {row["id"]: row for row in done.json}
    assert sorted(row["state"] for row in done.json) == ["here", "imported"]
    assert {row.full_name: row.visibility for row in mine.all()} == {
        "bob/dates": "public",
        "bob/secret": "private",
    }
    assert hubctl("pull", "bob/dates", "-o", tmp_path / "pulled").code == 0
    kept = json.loads((tmp_path / "pulled" / "provenance.json").read_text())
    assert (kept["source"], kept["id"], kept["license"]) == (there, "lab/dates", "mit")
    assert kept["commit"] == rows["lab/dates"]["commit"] and set(kept["sha256"]) >= {"adapter_model.safetensors"}

    again = hubctl(*given, "--yes", "--json")
    assert [row["state"] for row in again.json] == ["here", "here"]
    other = hubctl("import", "lab/dates@v1", "--as", "bob/secret", "--endpoint", there, "--yes", "--json")
    assert (other.code, other.json[0]["state"]) == (1, "taken")
    of_base = hubctl("import", "--base", "pico/llama", "--endpoint", there, "--json")
    assert {row["id"] for row in of_base.json} == {"lab/dates", "lab/secret"}, of_base.err


def test_a_base_comes_with_its_files(bob, elsewhere, hubctl):
    there = elsewhere.url
    dates = hubctl("base", "add", "--from", "lab/dates", "--endpoint", elsewhere.url)
    assert (dates.code, "hubctl import lab/dates" in dates.err) == (1, True), dates.err
    missing = hubctl("base", "add", "--from", "lab/nothing", "--endpoint", elsewhere.url)
    assert (missing.code, "HUBCTL_SOURCE_TOKEN" in missing.err) == (4, True), missing.err
    made = hubctl("base", "add", "bob/tiny", "--from", "Pico/Served@main", "--endpoint", there, "--files", "--json")
    assert made.code == 0, made.err
    base = BaseModel.objects.get(name="bob/tiny")
    assert (base.owner, base.license) == (bob, "mit")
    source = BaseModel.objects.get(name="Pico/Served")
    brought, held = (dict(row.files.values_list("path", "blob")) for row in (base, source))
    assert brought.pop("provenance.json") and brought == held


def test_what_is_needed_is_said_before_anything_is_asked(signed_in, served, hubctl, monkeypatch):
    itself = hubctl("import", "lab/dates", "--endpoint", served)
    assert (itself.code, "this very hub" in itself.err) == (1, True), itself.err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for given in (("import", "lab/dates"), ("base", "add", "--from", "org/model")):
        done = hubctl(*given)
        assert (done.code, "pip install huggingface_hub" in done.err) == (1, True), done.err
    for wrong in (("import",), ("import", "a/b", "--base", "c/d"), ("base", "add")):
        assert hubctl(*wrong).code == 2
