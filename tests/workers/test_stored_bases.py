"""Bases out of the hub's store: a worker that never had one runs jobs on it; fetched once a machine, on a budget."""

import os
import threading
import time
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hub.errors import DiskFull
from hub.models import State
from hub.services.base_files import set_files
from hub.services.content.manifest import Entry
from tests.hub import asking, factories
from tests.workers.conftest import write_base
from workers import bases
from workers.cache import Cache
from workers.weights import stored

MB = 1_000_000
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_cache(settings, tmp_path):
    """A machine without any base: no folder of bases, nothing fetched yet."""
    settings.WORKER_BASE_CACHE, settings.WORKER_BASE_CACHE_MB = tmp_path / "base-cache", 100
    yield
    stored._cache.cache_clear()


def put(base, files: dict[str, bytes]) -> None:
    """Give the base these files, as `hubctl base push` ends."""
    set_files(base, {path: Entry(*kept) for path, kept in factories.store(files).items()})


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG))


@pytest.fixture
def pushed(base, tmp_path, model):
    folder = write_base(tmp_path / "somewhere-else", model)
    put(base, {path.name: path.read_bytes() for path in folder.iterdir()})
    return base


@pytest.fixture
def fetches(monkeypatch):
    """The files that were fetched from the store, by digest."""
    seen, fetch = [], Cache.fetch
    monkeypatch.setattr(
        Cache, "fetch", lambda self, entry, target: seen.append(entry.sha256) or fetch(self, entry, target)
    )
    return seen


def test_a_worker_on_a_bare_machine_runs_a_job_on_a_pushed_base(pushed, owner, worker, work):
    assert not bases.holds(pushed)
    assert worker.facts()["bases"] == [pushed.pk]
    repository = factories.make_repository(owner, "sums", kind="dataset")
    rows = factories.publish(owner, repository, factories.dataset_files(rows=2, choices=True)).version
    job = work(
        asking.queue_job(actor=owner, kind="evaluate", recipe={"metrics": ["nll"]}, datasets=[rows], base=pushed)
    )
    assert (job.state, job.error) == (State.DONE, None)


def test_the_weights_are_the_pushed_ones(pushed, worker, model):
    from workers.models import LoadedBases

    loaded, _ = LoadedBases(10**9).get(pushed)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_what_lies_on_the_machine_comes_first(pushed, worker, tmp_path, model, fetches):
    home = write_base(tmp_path / "bases" / "pico" / "llama", model)
    assert bases.base_folder(pushed) == home and fetches == []


@pytest.mark.django_db(transaction=True)
def test_several_workers_fetch_once(pushed, worker, fetches):
    together, found, said = threading.Barrier(3), [], []

    def want() -> None:
        from django.db import connection

        together.wait()
        found.append(stored.fetched(pushed, said.append))
        connection.close()

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(found)) == 1 and (found[0] / "config.json").is_file()
    assert sorted(fetches) == sorted(set(pushed.files.values_list("blob", flat=True)))
    assert sum("Fetching" in line for line in said) == 1


def test_other_files_of_a_base_are_fetched_anew(pushed, worker, fetches):
    before = bases.base_folder(pushed)
    put(pushed, {path.name: path.read_bytes() for path in before.iterdir()} | {"README.md": b"# Other\n"})
    after = bases.base_folder(pushed)
    assert after != before and (after / "README.md").read_text() == "# Other\n"


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_what_is_no_whole_base_is_not_fetched(base, worker, tmp_path, model, missing):
    folder = write_base(tmp_path / "somewhere-else", model)
    put(base, {path.name: path.read_bytes() for path in folder.iterdir() if path.name != missing})
    assert bases.held_bases() == [] and stored.fetched(base) is None


class TestTheBudget:
    @pytest.fixture
    def three(self, settings):
        """Three bases of 3 MB, and room for two."""
        settings.WORKER_BASE_CACHE_MB = 7
        made = []
        for n in range(3):
            base = factories.make_base(f"pico/b{n}")
            put(base, {"config.json": b"{}" + b" " * n, "model.safetensors": bytes([n]) * (3 * MB)})
            made.append(base)
        return made

    def test_the_least_recently_used_goes_and_what_is_at_work_stays(self, three, worker, monkeypatch):
        monkeypatch.setattr(stored, "SECONDS_KEPT", -1.0)
        first, second = (stored.fetched(base) for base in three[:2])
        stored.let_go()
        age(second, 100)
        third = stored.fetched(three[2])
        assert first.exists() and third.exists() and not second.exists()
        assert stored._store().size() <= stored.budget()

    def test_where_all_are_at_work_the_job_is_put_off(self, three, worker):
        for base in three[:2]:
            stored.fetched(base)
        with pytest.raises(DiskFull, match="HUB_BASE_CACHE_MB"):
            stored.fetched(three[2])

    def test_one_that_never_fits_is_not_held(self, three, worker, settings):
        settings.WORKER_BASE_CACHE_MB = 2
        assert bases.held_bases() == []
        settings.WORKER_BASE_CACHE_MB = 0
        assert bases.held_bases() == []


def age(folder: Path, seconds: float) -> None:

    os.utime(folder, (time.time() - seconds,) * 2)


def test_a_gguf_in_the_store_is_converted_once_and_kept_dense(base, worker, monkeypatch, fetches):
    put(base, {"llama-q4.gguf": b"GGUF" + bytes(100)})
    calls = []

    def convert(gguf, folder, *, base_id):
        calls.append((gguf.name, gguf.read_bytes()[:4], base_id))
        torch.manual_seed(0)
        return write_base(folder, LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))

    monkeypatch.setattr("composition.running.base_models.convert_gguf", convert)
    assert bases.held_bases() == [base.pk]
    first, second = (bases.base_folder(base) for _ in range(2))
    assert first == second and calls == [("llama-q4.gguf", b"GGUF", "pico/llama")]
    names = {path.name for path in first.iterdir()}
    assert {"config.json", "model.safetensors"} <= names and not any("gguf" in name for name in names)
    assert len(fetches) == 1


def test_the_heartbeat_keeps_what_a_job_uses(pushed, worker):
    folder = stored.fetched(pushed)
    age(folder, 1000)
    before = folder.stat().st_mtime
    worker.heartbeat.beat()
    assert folder.stat().st_mtime > before + 900
    stored.let_go()
    age(folder, 1000)
    worker.heartbeat.beat()
    assert folder.stat().st_mtime < before + 900
