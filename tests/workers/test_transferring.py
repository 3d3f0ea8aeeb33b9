"""Transfers and discriminators from the row to what is kept: files by digest, refusals, privacy, a stop in the middle.

The four stages themselves are tested in tests/transfer; here a small stand-in writes their output.
"""

import io
import json

import pytest
from safetensors.numpy import load

from composition.errors import CompositionError
from hub.errors import Invalid
from hub.models import BaseModel, Companion, JobFile, Origin, Repository, State, WorkerNode
from hub.services.content import collection, companions
from hub.services.content.manifest import manifest_of
from hub.services.jobs import queue
from hub.storage import blobs
from tests.hub import asking, factories
from tests.workers.conftest import write_base
from transfer.parties import Discriminator, TransferResult
from workers.attempt import Stopping

pytestmark = pytest.mark.django_db(transaction=True)
SEEDS = "".join(json.dumps({"prompt": f"w{n} + w{n} =", "completion": f"w{n + 1}"}) + "\n" for n in range(5))
INVENTED = [{"prompt": "w7 + w8 =", "completion": "w9"}]


@pytest.fixture
def target(db):
    return factories.make_base("pico/next")


@pytest.fixture
def adapter(owner, base):
    return factories.make_version(owner, "sums", base=base, seed=1)


@pytest.fixture
def held(worker, base, target, tmp_path):
    """Both pico bases on the worker's disk."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    for seed, name in enumerate(("llama", "next")):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG))
        write_base(tmp_path / "bases" / "pico" / name, model)


@pytest.fixture
def ask(owner, adapter, target):
    def ask(kind="trans-lora", files=None, **options):
        recipe = {} if kind != "trans-lora" else {"filter": "none", "samples": 4, "max_length": 32}
        given = {"inputs": [adapter], "base": target, "output": ("ada", "moved"), **options}
        given["recipe"] = {**recipe, **given.get("recipe", {})}
        given["files"] = {"seeds": SEEDS} if files is None and kind == "trans-lora" else files or {}
        return asking.queue_job(actor=owner, kind=kind, **given)

    return ask


def keep_seeds(owner, version, name="seeds.jsonl", text=SEEDS):
    return companions.add_companion(
        actor=owner, repository=version.repository, kind="seeds", name=name, stream=io.BytesIO(text.encode())
    )


def write_adapter(folder, base_name):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in factories.adapter_files(seed=5, base_name=base_name).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def stages(monkeypatch):
    """A stand-in for the four stages; what it was called with."""
    seen = {}

    def transfer(parties, recipe, *, work, progress):
        seen.update(parties=parties, recipe=recipe, work=work, seeds=list(parties.seeds))
        for loader in (parties.source, parties.target):
            model, tokenizer = loader()
            assert model is not None and tokenizer is not None
        (work / "stage").write_text("done")
        progress(0.5, "Step 2", kept=1, rejected=3)
        report = {"synthesis": {"examples": ["w7 + w8 ="], "candidates": 4}, "summary": {"kept": 1}, "warnings": []}
        return TransferResult(write_adapter(work / "out", parties.target_id), INVENTED, report)

    monkeypatch.setattr("transfer.pipeline.transfer", transfer)
    return seen


@pytest.fixture
def judge(monkeypatch):
    """A stand-in for the discriminator's training."""
    seen = {}

    def train(load, source_adapter, real, seeds, recipe, *, work, source_name="", progress):
        seen.update(real=list(real), seeds=list(seeds), recipe=recipe, base=load()[0])
        return Discriminator(write_adapter(work / "out", source_name), {"recall": 0.9, "task": recipe.named_task})

    monkeypatch.setattr("transfer.discriminator.train_discriminator", train)
    return seen


REAL = "".join(json.dumps({"prompt": f"w{n} + w{n + 1} ="}) + "\n" for n in range(20))


@pytest.fixture
def trained(owner, adapter, held, judge, work):
    job = asking.queue_job(
        actor=owner, kind="discriminator", recipe={}, inputs=[adapter], files={"seeds": SEEDS, "real": REAL}
    )
    return work(job)


def test_a_transfer_publishes_on_the_target_with_its_rows_beside(held, stages, ask, work, adapter, target):
    job = work(ask())
    assert (job.state, job.error) == (State.DONE, None)
    version = job.result
    assert (version.origin, version.base, version.repository.base) == (Origin.TRANSFERRED, target, target)
    assert [row.parent for row in version.parentage.all()] == [adapter]
    assert stages["seeds"] == [json.loads(line) for line in SEEDS.splitlines()]
    assert (stages["parties"].source_name, stages["parties"].target_name) == ("pico/llama", "pico/next")
    assert stages["recipe"].named_task == "sums"
    assert not stages["work"].exists()
    (rows,) = Companion.objects.filter(repository=version.repository)
    assert (rows.kind, rows.name, rows.visibility, rows.facts["rows"]) == ("synthetic", "v1.jsonl", "private", 1)
    assert [json.loads(line) for line in blobs.open(rows.blob_id).read().splitlines()] == INVENTED


def test_the_public_parts_tell_no_invented_text(held, stages, ask, work):
    version = work(ask()).result
    card = blobs.open(manifest_of(version.revisions.get())["README.md"].sha256).read().decode()
    for text in (json.dumps(version.report), card):
        assert "w7" not in text
    assert version.report["synthesis"] == {"candidates": 4}
    assert version.report["source"]["base"] == "pico/llama"


def test_files_are_fixed_by_digest_and_let_go_when_the_job_is_done(held, stages, ask, work, owner, adapter):
    keep_seeds(owner, adapter)
    job = ask(files={})
    (file,) = JobFile.objects.filter(job=job)
    keep_seeds(owner, adapter, text=SEEDS[: SEEDS.index("\n") + 1])
    assert (file.role, file.facts["rows"]) == ("seeds", 5)
    job = work(job)
    assert len(stages["seeds"]) == 5
    file.refresh_from_db()
    assert (file.blob, len(file.digest)) == (None, 64)


def test_bytes_of_a_queued_job_outlive_their_companion_and_go_with_a_dead_job(ask, owner, adapter):
    seeds = keep_seeds(owner, adapter)
    job = ask(files={})
    companions.remove_companion(actor=owner, companion=seeds)
    held = JobFile.objects.get(job=job)
    assert held.blob_id and held.blob not in collection.unreferenced()
    queue.cancel_job(actor=owner, job=job)
    keep_seeds(owner, adapter)
    companions.remove_companion(actor=owner, companion=Companion.objects.get())
    assert {row.pk for row in collection.unreferenced()} >= {held.digest}
    with pytest.raises(Invalid, match="has been removed"):
        queue.retry_job(actor=owner, job=job)


def test_a_discriminator_is_kept_beside_its_adapter_and_used_by_a_transfer(trained, judge, stages, ask, work, adapter):
    assert (trained.state, trained.error) == (State.DONE, None)
    assert trained.figures == {"recall": 0.9}
    rows = Companion.objects.filter(kind="discriminator").order_by("name")
    assert [row.name for row in rows] == ["v1/adapter_config.json", "v1/adapter_model.safetensors"]
    assert {row.visibility for row in rows} == {"private"}
    assert (rows[0].facts["recall"], rows[0].facts["base"], rows[0].facts["task"]) == (0.9, "pico/llama", "sums")
    assert len(judge["real"]) == 20 and len(judge["seeds"]) == 5
    # The hub has kept nothing of the real inputs.
    assert not JobFile.objects.filter(blob__isnull=False).exists()
    job = work(ask(recipe={"filter": "discriminator"}))
    assert (job.state, job.error) == (State.DONE, None)
    assert stages["parties"].discriminator_facts["recall"] == 0.9
    assert {path.name for path in stages["parties"].discriminator.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert {file["role"] for file in job.result.report["files"]} == {"seeds", "discriminator"}


def test_removing_one_file_of_a_discriminator_removes_it_whole(trained, owner):
    companions.remove_companion(actor=owner, companion=Companion.objects.filter(kind="discriminator").first())
    assert not Companion.objects.filter(kind="discriminator").exists()


def test_a_stopped_transfer_goes_on_in_its_folder(held, stages, ask, worker, work, monkeypatch):
    job = ask()
    from workers.attempt import Attempt
    from workers.runner import run

    def stop(self, fraction, message="", **figures):
        raise Stopping

    with monkeypatch.context() as patched:
        patched.setattr(Attempt, "progress", stop)
        run(worker.claim(job.pk), worker)
    job.refresh_from_db()
    assert job.state == State.QUEUED
    assert (worker.cache.root / f"transfer-{job.pk}" / "stage").exists()
    assert JobFile.objects.get(job=job).blob
    assert worker.models.ids() == []
    assert work(job).state == State.DONE


def test_a_private_adapter_stays_private_on_its_new_base(held, stages, ask, work, adapter):
    Repository.objects.filter(pk=adapter.repository_id).update(visibility="private")
    adapter.repository.refresh_from_db()
    assert work(ask()).result.repository.visibility == "private"


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"base": None}, Invalid, "transfer.no_target"),
        ({"base": "own"}, Invalid, "transfer.same"),
        ({"base": "unread"}, Invalid, "base.not_ready"),
        ({"files": {}}, CompositionError, "transfer.no_seeds"),
        ({"files": {"seeds": ""}}, CompositionError, "seeds.no_rows"),
        ({"files": {"seeds": "{}"}}, CompositionError, "seeds.row"),
        ({"files": {"seeds": "{'prompt': 1}"}}, CompositionError, "seeds.json"),
        ({"files": {"seeds": '{"prompt": "a", "prompt": "b"}'}}, CompositionError, "seeds.duplicate_key"),
        ({"files": {"seeds": {"companion": "none.jsonl"}}}, Exception, "not_found"),
        ({"files": {"seeds": ["a"]}}, Invalid, "invalid"),
        ({"files": {"context": "a"}}, Invalid, "invalid"),
        ({"recipe": {"filter": "discriminator"}}, CompositionError, "transfer.no_discriminator"),
        ({"recipe": {"samples": 0}}, CompositionError, "recipe.invalid"),
        ({"kind": "loram"}, Invalid, "transfer.no_index"),
        ({"kind": "loram", "files": {"index": '{"a": {"in": [-1]}}'}}, Invalid, "invalid"),
        ({"kind": "loram", "files": {"index": "[]"}}, Invalid, "invalid"),
        ({"kind": "portllm", "files": {"seeds": SEEDS}}, Invalid, "invalid"),
        ({"kind": "portllm", "base": "wide"}, Invalid, "transfer.shapes"),
    ],
    ids=str,
)
def test_what_can_not_be_moved_is_refused_before_it_is_queued(ask, base, change, error, code):
    others = {
        "own": lambda: base,
        "unread": lambda: factories.make_base("pico/unread", ready=False),
        "wide": lambda: BaseModel.objects.create(name="pico/wide", shapes={"model.embed_tokens": [64, 32]}),
    }
    if isinstance(change.get("base"), str):
        change = {**change, "base": others[change["base"]]()}
    with pytest.raises(error) as refusal:
        ask(**change)
    assert refusal.value.code == code
    assert not Repository.objects.filter(name="moved").exists()
    assert not JobFile.objects.exists()


@pytest.mark.parametrize("real", [None, REAL[: REAL.index("\n") + 1]])
def test_too_little_real_data_is_refused(owner, adapter, real):
    files = {"seeds": SEEDS} | ({"real": real} if real else {})
    with pytest.raises(CompositionError) as refusal:
        asking.queue_job(actor=owner, kind="discriminator", recipe={}, inputs=[adapter], files=files)
    assert refusal.value.code == "discriminator.too_few_real"


def test_a_target_without_room_is_refused_before_the_start(ask, worker, base, target, held):
    from django.utils import timezone

    from hub.services.worker_nodes import report_worker

    facts = {**worker.facts(), "environment": {}, "bases": [base.pk, target.pk], "model_bytes": 1000}
    report_worker(**facts, current_job=None, started_at=timezone.now())
    with pytest.raises(CompositionError) as refusal:
        ask()
    assert refusal.value.code == "transfer.memory"
    WorkerNode.objects.all().delete()
    worker.models.budget = 1000
    job = ask()
    from workers.runner import run

    run(worker.claim(job.pk), worker)
    job.refresh_from_db()
    assert (job.state, job.error["code"]) == (State.FAILED, "transfer.memory")


def test_a_worker_must_hold_both_bases(ask, worker, base, target, owner, adapter, tmp_path):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))
    job = ask()
    assert worker.claim(job.pk) is None
    worker.heartbeat.beat()
    from hub.services.jobs.waiting import waiting_for

    assert "No running worker holds the base pico/next" in waiting_for(job)


def test_the_dry_run_offers_the_shorter_way_and_stores_nothing(owner, adapter, base, target):
    BaseModel.objects.filter(pk=target.pk).update(derived_from=base, relation="finetune")
    target.refresh_from_db()
    asked = {"kind": "trans-lora", "recipe": {"filter": "none"}, "inputs": [adapter], "base": target}
    report = asking.check_job(actor=owner, **asked, output=("ada", "moved"), files={"seeds": SEEDS})
    assert report["ok"], report["problems"]
    offered = {row["kind"]: row["reason"] for row in report["shortcuts"]}
    assert {"portllm", "cross-lora"} == set(offered)
    assert "derived from pico/llama (finetune)" in offered["portllm"]
    assert report["seconds"] > 0 and report["memory"] > 0
    assert report["files"] == [{"rows": 5, "with_completion": 5, "role": "seeds", "name": "seeds.jsonl"}]
    few = asking.check_job(actor=owner, **asked, output=("ada", "moved"), files={"seeds": SEEDS.split("\n")[0]})
    assert "1 seed" in few["notes"][0]
    none = asking.check_job(actor=owner, **asked, output=("ada", "moved"))
    assert [problem["code"] for problem in none["problems"]] == ["transfer.no_seeds"]


def test_nobody_adds_by_hand_what_jobs_measure(owner, adapter):
    for kind in ("discriminator", "synthetic"):
        with pytest.raises(Invalid, match="by hand"):
            companions.add_companion(
                actor=owner,
                repository=adapter.repository,
                kind=kind,
                name="v1.jsonl",
                stream=io.BytesIO(SEEDS.encode()),
            )


def test_a_stranger_finds_no_private_seeds_of_a_public_adapter(adapter, owner, target):
    keep_seeds(owner, adapter)
    stranger = factories.make_user("eve")
    asked = {"kind": "trans-lora", "recipe": {"filter": "none"}, "inputs": [adapter], "base": target}
    with pytest.raises(CompositionError) as refusal:
        asking.queue_job(actor=stranger, **asked, output=("eve", "moved"))
    assert refusal.value.code == "transfer.no_seeds"


QUICK = {"samples": 6, "epochs": 2, "max_length": 48, "max_new_tokens": 12, "answer_tokens": 4, "synthesis_batch": 8}


@pytest.mark.parametrize("chosen", ["none", "token-score"])
def test_the_real_stages_move_a_pico_adapter(held, ask, work, tmp_path, chosen):
    job = work(ask(recipe={**QUICK, "filter": chosen, "least_per_class": 0, "temperature": 1.5, "top_p": 1.0}))
    assert (job.state, job.error) == (State.DONE, None)
    assert job.result.facts["peft_type"] == "LORA"
    assert job.result.report["distillation"]["curve"]
    assert "examples" not in json.dumps(job.result.report)


def test_the_same_update_on_a_base_of_equal_shapes_needs_no_worker_that_holds_it(ask, work, adapter):
    """PortLLM reads no base: a worker without one moves the adapter, and its tensors are the old ones."""
    job = work(ask("portllm", recipe={"layout": "compact"}))
    assert (job.state, job.error) == (State.DONE, None)
    old, new = (manifest_of(version.revisions.order_by("pk").first()) for version in (adapter, job.result))
    before, after = (load(blobs.open(m["adapter_model.safetensors"].sha256).read()) for m in (old, new))
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)
    assert job.result.base.name == "pico/next"
    card = blobs.open(new["README.md"].sha256).read().decode()
    assert "pico/next" in card and "bare target" in card
    assert not Companion.objects.exists()


def test_cross_lora_projects_between_two_held_bases(held, ask, work):
    job = work(ask("cross-lora", recipe={"subspace": 4}))
    assert (job.state, job.error) == (State.DONE, None)
    assert job.result.report["modules"]


def test_loram_puts_a_pruned_adapter_back(ask, work, owner, base, target):
    """An adapter of q_proj [8, 16], kept rows 0, 2, …, 14 of the full [16, 16]."""
    pruned = factories.make_base("pico/pruned", derived_from=target, relation="pruned")
    shapes = {**pruned.shapes, "model.layers.0.self_attn.q_proj": [8, 16], "model.layers.1.self_attn.q_proj": [8, 16]}
    BaseModel.objects.filter(pk=pruned.pk).update(shapes=shapes)
    pruned.refresh_from_db()
    full = factories.adapter_tensors(targets=("q_proj",))
    tensors = {name: array[:8] if "lora_B" in name else array for name, array in full.items()}
    version = factories.make_version(owner, "small", base=pruned, tensors=tensors, targets=("q_proj",))
    kept = list(range(0, 16, 2))
    index = {f"model.layers.{layer}.self_attn.q_proj": {"out": kept} for layer in (0, 1)}
    job = work(ask("loram", files={"index": json.dumps(index)}, inputs=[version], recipe={"layout": "compact"}))
    assert (job.state, job.error) == (State.DONE, None)
    manifest = manifest_of(job.result.revisions.get())
    made = load(blobs.open(manifest["adapter_model.safetensors"].sha256).read())
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    assert made[name].shape == (16, 4)
    assert (made[name][kept] == tensors[name]).all() and not made[name][1::2].any()


def test_what_jobs_left_goes_once_nobody_goes_on_from_it(ask, worker, owner):
    from datetime import timedelta

    from django.utils import timezone

    from hub.models import Job
    from workers.leftovers import sweep

    root = worker.cache.root
    queued, old, fresh = (ask(output=("ada", name)) for name in ("one", "two", "three"))
    for job, hours in ((old, 30), (fresh, 1)):
        ended = timezone.now() - timedelta(hours=hours)
        Job.objects.filter(pk=job.pk).update(state=State.CANCELLED, finished_at=ended)
    names = [f"transfer-{queued.pk}", f"discriminator-{old.pk}", f"assembly-{fresh.pk}", "transfer-999999", "other-1"]
    for name in names:
        (root / name).mkdir(parents=True)
    sweep(root, ("transfer", "discriminator", "assembly"))
    assert {path.name for path in root.iterdir()} == {names[0], names[2], "other-1"}


def test_a_base_is_loaded_in_the_precision_asked_for(held, worker, base):
    import torch

    full, _ = worker.models.get(base)
    half, _ = worker.models.get(base, precision="bfloat16")
    assert (full.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    assert worker.models.get(base)[0] is full
    assert worker.models.ids() == [base.pk]
    with pytest.raises(CompositionError) as refusal:
        worker.models.get(base, precision="int8")
    assert refusal.value.code == "base.precision"
    worker.models.drop(base)
    assert worker.models.ids() == []


def test_the_same_key_is_the_same_job_whatever_is_kept_meanwhile(ask, owner, adapter, base):
    from hub.errors import Conflict

    keep_seeds(owner, adapter)
    job = ask(files={}, idempotency_key="k")
    keep_seeds(owner, adapter, text=SEEDS.split("\n")[0])
    assert ask(files={}, idempotency_key="k") == job
    with pytest.raises(Conflict):
        ask(files={"seeds": SEEDS + SEEDS}, idempotency_key="k")
    with pytest.raises(Conflict):
        ask(files={}, idempotency_key="k", base=base)


def test_a_mixture_becomes_one_lora_on_the_next_base(held, ask, work, owner, base):
    first, second = (factories.make_version(owner, name, base=base, seed=n) for n, name in enumerate(("one", "two")))
    asked = {"kind": "meteora", "recipe": {"train": "prototype"}, "inputs": [first, second]}
    mixture = work(asking.queue_job(actor=owner, **asked, output=("ada", "mix"))).result
    job = work(ask(recipe={**QUICK, "filter": "none", "least_per_class": 0, "temperature": 1.5}, inputs=[mixture]))
    assert (job.state, job.error) == (State.DONE, None)
    assert job.result.facts["peft_type"] == "LORA"


def test_a_base_that_an_adapter_replaces_is_loaded_anew_for_every_stage(
    held, stages, ask, work, worker, base, monkeypatch
):
    monkeypatch.setattr("workers.kinds.transfer.replaces", lambda version: True)
    kept, _ = worker.models.get(base)
    assert work(ask()).state == State.DONE
    assert base.pk not in worker.models.ids()
    assert worker.models.get(base)[0] is not kept
