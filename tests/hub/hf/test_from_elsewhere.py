"""Hub to hub: what `hubctl import` and `hubctl base add --from` bring, with two live servers on loopback."""

import json
import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from django.conf import settings as django_settings
from django.db import connection
from huggingface_hub import constants

from hub.models import Repository
from tests.hub import factories
from tests.hub.front.wire import granian
from tests.hub.front.wire import served as serving
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
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def bob(elsewhere, hubctl, served, monkeypatch):
    """`bob`, signed in to the hub of this process, which has no repositories; the stock library is online."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for row in Repository.objects.all():
        row.versions.all().delete()
        row.delete()
    user = factories.make_user("bob")
    assert hubctl("login", served, "--token", make_token(user)).code == 0
    return user


def test_adapters_come_from_another_hub_after_a_plan_and_a_second_time_nothing_moves(
    bob, ada, elsewhere, hubctl, tmp_path, monkeypatch
):
    given = ("import", "lab", "--endpoint", elsewhere)
    planned = hubctl(*given)
    assert planned.code == 0 and "--yes" in planned.err, planned.err
    assert "lab/dates" in planned.out and "mit" in planned.out and "secret" not in planned.out
    assert not Repository.objects.exists()

    monkeypatch.setenv("HUBCTL_SOURCE_TOKEN", make_token(ada))
    done = hubctl(*given, "--yes", "--json")
    assert done.code == 0, done.err
    rows = {row["id"]: row for row in done.json}
    assert {name: row["state"] for name, row in rows.items()} == {"lab/dates": "imported", "lab/secret": "imported"}
    assert {row.full_name: row.visibility for row in Repository.objects.all()} == {
        "bob/dates": "public",
        "bob/secret": "private",
    }
    assert hubctl("pull", "bob/dates", "-o", tmp_path / "pulled").code == 0
    kept = json.loads((tmp_path / "pulled" / "provenance.json").read_text())
    assert (kept["source"], kept["id"], kept["license"]) == (elsewhere, "lab/dates", "mit")
    assert kept["commit"] == rows["lab/dates"]["commit"] and set(kept["sha256"]) >= {"adapter_model.safetensors"}

    again = hubctl(*given, "--yes", "--json")
    assert [row["state"] for row in again.json] == ["here", "here"]
    other = hubctl("import", "lab/dates@v1", "--as", "bob/secret", "--endpoint", elsewhere, "--yes", "--json")
    assert (other.code, other.json[0]["state"]) == (1, "taken")
    of_base = hubctl("import", "--base", "pico/llama", "--endpoint", elsewhere, "--json")
    assert {row["id"] for row in of_base.json} == {"lab/dates", "lab/secret"}, of_base.err
