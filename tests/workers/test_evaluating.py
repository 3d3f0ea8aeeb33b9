"""Evaluations and the models they need: found on disk, kept in memory, given back as they were."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from composition.errors import CompositionError
from hub.models import Evaluation, State
from hub.services.jobs import lease, reaper
from tests.hub import asking, factories
from tests.workers.conftest import write_base
from workers import bases
from workers.models import LoadedBases, checked_folder

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held(worker, base, settings, tmp_path):
    """The pico base on the worker's disk; its folder."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG))
    return write_base(tmp_path / "bases" / "pico" / "llama", model)


@pytest.fixture
def rows(owner):
    repository = factories.make_repository(owner, "sums", kind="dataset")
    return factories.publish(owner, repository, factories.dataset_files(rows=6, choices=True)).version


@pytest.fixture
def strong(owner, base):
    """An adapter that changes the base a lot, on other targets than most."""
    tensors = {k: v * 5 for k, v in factories.adapter_tensors(targets=("q_proj", "down_proj")).items()}
    return factories.make_version(owner, "strong", base=base, targets=("q_proj", "down_proj"), tensors=tensors)


def weights(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(4, 14)[None]).logits


def evaluate(owner, rows, **asked):
    return asking.queue_job(
        actor=owner, kind="evaluate", recipe={"metrics": ["nll", "choice"]}, datasets=[rows], **asked
    )


def test_an_adapter_and_its_base_are_measured_and_recorded(held, work, owner, rows, strong, base, worker):
    pytest.importorskip("composition.running.evaluation")
    bare = work(evaluate(owner, rows, base=base))
    adapted = work(evaluate(owner, rows, inputs=[strong]))
    assert (bare.state, bare.error) == (State.DONE, None)
    assert (adapted.state, adapted.error) == (State.DONE, None)
    first, second = Evaluation.objects.order_by("pk")
    assert (first.version, first.base, first.dataset) == (None, base, rows)
    assert (second.version, second.split, second.rows) == (strong, "test", 6)
    assert second.dataset_digest == rows.content_digest
    assert second.environment["threads"] == 1
    assert abs(first.metrics["nll"] - second.metrics["nll"]) > 1e-3
    # The base in memory is still the base.
    again = work(evaluate(owner, rows, base=base))
    assert again.evaluation.metrics == first.metrics
    assert worker.models.ids() == [base.pk]


def test_a_ghost_records_no_evaluation(held, worker, owner, rows, base, monkeypatch):
    evaluation = pytest.importorskip("composition.running.evaluation")
    whole = evaluation.evaluate
    job = evaluate(owner, rows, base=base)
    claimed = worker.claim(job.pk)

    def overtaken(*args, **kwargs):
        type(job).objects.filter(pk=job.pk).update(lease_until="2020-01-01T00:00:00Z")
        reaper.reap()
        assert lease.claim(job.pk, worker="other").attempt == 2
        return whole(*args, **kwargs | {"progress": lambda *_, **__: None})

    monkeypatch.setattr(evaluation, "evaluate", overtaken)
    from workers.runner import run

    run(claimed, worker)
    job.refresh_from_db()
    assert (job.state, job.attempt) == (State.LOADING, 2)
    assert not Evaluation.objects.exists()


def test_a_worker_without_the_base_leaves_the_job_queued(worker, owner, rows, base):
    job = evaluate(owner, rows, base=base)
    assert worker.claim(job.pk) is None
    job.refresh_from_db()
    assert (job.state, job.attempt) == (State.QUEUED, 0)


def test_an_adapter_is_attached_and_taken_off_bit_for_bit(held, base, strong, worker):
    loaded = LoadedBases(10**9)
    model, _ = loaded.get(base)
    before, bare = weights(model), logits(model)
    folder = worker.cache.folder(manifest(strong))
    for _ in range(2):
        with loaded.with_adapter(base, folder, replaces_base=False) as (attached, _):
            assert not torch.allclose(logits(attached), bare, atol=1e-3)
    assert loaded.get(base)[0] is model
    assert same(weights(model), before)
    assert torch.equal(logits(model), bare)


@pytest.mark.parametrize("how", ["an error", "an adapter that replaces weights"])
def test_a_base_that_may_have_changed_is_not_used_again(held, base, strong, worker, how):
    loaded = LoadedBases(10**9)
    folder = worker.cache.folder(manifest(strong))
    if how == "an error":
        with pytest.raises(KeyError), loaded.with_adapter(base, folder, replaces_base=False):
            raise KeyError
    else:
        with loaded.with_adapter(base, folder, replaces_base=True):
            pass
    assert loaded.ids() == []


def test_the_last_used_bases_stay_within_the_budget(settings, tmp_path, worker):
    made = []
    for n in range(3):
        base = factories.make_base(f"pico/b{n}")
        torch.manual_seed(n)
        write_base(tmp_path / "bases" / "pico" / f"b{n}", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))
        made.append(base)
    size = sum(p.numel() * 4 for p in LoadedBases(10**9).get(made[0])[0].parameters())
    loaded = LoadedBases(int(2.5 * size))
    for base in (made[0], made[1], made[0], made[2]):
        loaded.get(base)
    assert loaded.ids() == [made[0].pk, made[2].pk]


def test_other_weights_under_a_base_s_name_are_refused(base, worker, tmp_path):
    pruned = LlamaConfig(**factories.PICO_CONFIG | {"intermediate_size": 24})
    write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(pruned))
    with pytest.raises(CompositionError, match="another model"):
        LoadedBases(10**9).get(base)
    with pytest.raises(CompositionError, match="another model"):
        checked_folder(base)  # Processes that train together load the folder themselves.


def test_a_folder_of_the_right_weights_is_given(held, base, worker):
    assert base.shapes
    assert checked_folder(base) == bases.base_folder(base)


def test_where_bases_are_found(base, worker, tmp_path, settings):
    assert not bases.holds(base)
    with pytest.raises(CompositionError, match="holds no weights of pico/llama"):
        bases.base_folder(base)
    second = tmp_path / "more"
    settings.WORKER_BASES = f"{tmp_path / 'bases'}:{second}"
    home = second / "pico" / "llama"
    home.mkdir(parents=True)
    (home / "config.json").write_text("{}")
    assert not bases.holds(base), "a config without weights is no base"
    (home / "model.safetensors").write_bytes(b"")
    assert bases.base_folder(base) == home
    assert bases.held_bases() == [base.pk]
    base.revision = "v2"
    assert not bases.holds(base)


def test_a_source_may_name_a_folder_below_the_bases_and_none_elsewhere(base, worker, tmp_path):
    for folder in (tmp_path / "bases" / "shared" / "llama@v1", tmp_path / "secret"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"")
    (tmp_path / "bases" / "link").symlink_to(tmp_path / "secret")
    base.source_by_admin = True
    for path in ("../secret", str(tmp_path / "secret"), "link", "shared", None, 7):
        base.source = {"kind": "folder", "path": path}
        assert not bases.holds(base), path
    base.source = {"kind": "folder", "path": "shared/llama@v1"}
    assert bases.base_folder(base) == tmp_path / "bases" / "shared" / "llama@v1"


@pytest.mark.parametrize("package", ["../../etc", "os.path", "", None, 7, "nothing-of-that-name"])
def test_a_source_can_name_no_path(base, package, worker):
    base.source = {"kind": "gguf", "package": package}
    assert not bases.holds(base)


@pytest.mark.parametrize("name", ["../escape", "a/../b", "/etc", "pico/.."])
def test_a_base_s_name_can_leave_no_folder(base, name, worker):
    base.name = name
    assert not bases.holds(base)
    with pytest.raises(CompositionError):
        bases.base_folder(base)


def test_a_gguf_file_is_converted_once(base, worker, tmp_path, monkeypatch):
    (tmp_path / "bases" / "pico").mkdir(parents=True)
    (tmp_path / "bases" / "pico" / "llama.gguf").write_bytes(b"GGUF")
    calls = []

    def convert(gguf, folder, *, base_id):
        calls.append((gguf.name, base_id))
        torch.manual_seed(0)
        return write_base(folder, LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))

    monkeypatch.setattr("composition.running.base_models.convert_gguf", convert)
    loaded = LoadedBases(10**9)
    for _ in range(2):
        loaded.get(base)
        loaded.drop(base)
    assert calls == [("llama.gguf", "pico/llama")]


def manifest(version):
    from hub.services.content.manifest import manifest_of

    return manifest_of(version.revisions.get())
