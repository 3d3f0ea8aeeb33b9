"""A result of private parents, in the hands of someone who sees the result alone: nothing in it names its parents.

Real workers make every kind of result. Then the names are looked for in every byte of every file, and in every answer
and page about result and job; the repositories were renamed to words that stand nowhere else.
"""

import json

import pytest
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.test import Client

from composition.registry import METHODS
from hub.models import (
    Companion,
    Job,
    ManifestEntry,
    Membership,
    Namespace,
    Repository,
    Role,
    State,
    Visibility,
)
from hub.services.jobs import lease, queue
from hub.storage import blobs
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.every_kind import FINE, asked, make_lab
from tests.workers.conftest import write_base
from tests.workers.test_training_generators import DOCUMENTS, SIZES, SMALL, jsonl
from transfer.parties import Discriminator, TransferResult
from workers.runner import run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
QUICK = ("lego", "grown", "trans-lora", "generate", "discriminator")
NAMESPACE, BARE, TEXT = "zqden", "zqbare", "zqtext"
GROWN = {"kind": "meteora", "inputs": ["lab/mix", "lab/wide"], "recipe": {"train": "prototype"}, "output": "lab/grown"}
PLANTED = {
    "synthesis": {"examples": [TEXT], "tries": 4, "task": TEXT},
    "labelling": {"classes": {TEXT: 3}, "class_sizes": [3]},
    "warnings": [f"{NAMESPACE}/{BARE}-a@v1 is in /srv/{TEXT}/weights.safetensors"],
    "summary": {},
}


@pytest.fixture
def stand_ins(monkeypatch):
    """The two methods that train for long, as they are called; what they say is full of what must not be told."""

    def transfer(parties, recipe, *, work, progress):
        progress(0.5, f"In {work}", examples=[TEXT])
        folder = write(work / "out", parties.target_id)
        return TransferResult(folder, [{"prompt": TEXT, "completion": TEXT}], PLANTED)

    def train(load, source, real, seeds, recipe, *, work, source_name="", progress):
        return Discriminator(write(work / "out", source_name), {"recall": 0.9, "task": recipe.named_task})

    monkeypatch.setattr("transfer.pipeline.transfer", transfer)
    monkeypatch.setattr("transfer.discriminator.train_discriminator", train)


def write(folder, base_name):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in factories.adapter_files(seed=5, base_name=base_name).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["quick", "rest"])
def jobs(people, base, tmp_path, worker, stand_ins, request) -> dict[str, Job]:
    """Kind → a job that its worker has run; results in `member/KIND`, of which the stranger is an admin now."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    lab = make_lab(people, base, tmp_path)
    for seed, name in enumerate(("llama", "next")):
        torch.manual_seed(seed)
        write_base(tmp_path / "bases" / "pico" / name, LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))
    train = FINE["train-generator"] | {"datasets": ["lab/long"], "recipe": {**SMALL, **SIZES}}
    texts = factories.make_repository(lab.owner, "long", namespace=lab.lab, kind="dataset")
    factories.push(lab.owner, texts, {"train.jsonl": jsonl([{"text": text} for text in DOCUMENTS])})
    whole = json.dumps({"model.layers.0.self_attn.q_proj": {"out": list(range(16))}})
    bodies = {**FINE, "grown": GROWN, "train-generator": train, "loram": FINE["loram"] | {"files": {"index": whole}}}
    queued = {}
    for kind, body in bodies.items():
        if (kind in QUICK) != request.param:
            continue
        own = {"output": f"member/{kind}", "visibility": "private"} if "output" in body else {}
        keep = {"keep": ["state"]} if kind == "generate" else {}
        queued[kind] = queue.queue_job(actor=lab.member, request=asked(lab.member, body | own | keep))
    Repository.objects.filter(namespace=lab.lab).update(
        visibility=Visibility.PRIVATE, name=Concat(Value(f"{BARE}-"), F("name"))
    )
    Namespace.objects.filter(pk=lab.lab.pk).update(name=NAMESPACE)
    home = Namespace.objects.get(name="member")
    Membership.objects.create(namespace=home, user=lab.stranger, role=Role.ADMIN)
    for job in queued.values():
        run(lease.claim(job.pk, worker=worker.name), worker)
        job.refresh_from_db()
    return queued


def hidden_in(text: bytes | str) -> set[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return {word for word in (NAMESPACE, BARE, TEXT) if word.encode() in data.lower()}


def addresses(job: Job) -> list[str]:
    """Every address about a job, and about its result where it has one."""
    api = [f"/api/v1/jobs/{job.pk}", f"/api/v1/jobs/{job.pk}/log", "/api/v1/jobs", "/api/v1/namespaces/member/events"]
    pages = ["/jobs", f"/jobs/{job.pk}", "/", "/member"]
    if job.result:
        name, at = job.result.repository.full_name, f"/api/v1/repositories/{job.result.repository.full_name}"
        api += [
            at,
            *(f"{at}/{word}" for word in ("versions", "versions/v1", "files/v1", "refs", "companions", "events")),
        ]
        pages += [f"/{name}", *(f"/{name}/{word}" for word in ("versions", "settings"))]
        pages += [f"/{name}/{word}/v1" for word in ("at", "files", "modules", "report", "try")]
        pages += [f"/compare?version={name}@v1", f"/merge?inputs={name}@v1"]
    return [*api, *pages]


def test_who_sees_the_result_alone_reads_no_name_of_its_parents(jobs, people):
    assert {kind: job.error for kind, job in jobs.items() if job.state != State.DONE} == {}
    made = {kind for kind, job in jobs.items() if job.result}
    wanted = {kind for kind, job in jobs.items() if METHODS[job.kind].result in ("adapter", "generator")}
    assert made == wanted, "Each kind that publishes has published."
    api, pages = Api(people.stranger), Client()
    pages.force_login(people.stranger)
    for kind, job in jobs.items():
        if job.result:
            for entry in ManifestEntry.objects.filter(revision__version=job.result):
                with blobs.open(entry.blob_id) as stream:
                    assert not hidden_in(stream.read()), (kind, entry.path)
            told = [job.result.report, job.result.recipe, job.result.facts, job.result.environment]
            assert not hidden_in(json.dumps(told)), kind
            assert not hidden_in(json.dumps([row.message for row in job.result.revisions.all()])), kind
            kept = Companion.objects.filter(repository=job.result.repository)
            assert not hidden_in(json.dumps([[row.name, row.facts] for row in kept])), kind
        assert not hidden_in("".join(line.text for line in job.log.all()) + job.message), kind
        answered = 0
        for address in addresses(job):
            client, more = (api.http, {"headers": api.headers}) if address.startswith("/api/") else (pages, {})
            answer = client.get(address, **more)
            assert answer.status_code in (200, 404), address
            answered += answer.status_code == 200
            assert not hidden_in(answer.content), (kind, address)
        assert answered >= (14 if job.result else 4), kind
    names_are_put_in_again(jobs, people.member)


def names_are_put_in_again(jobs, member) -> None:
    """The other side: for the owner, who is a member of both namespaces."""
    api, name = Api(member), f"{NAMESPACE}/{BARE}-a@v1"
    for kind in jobs.keys() & {"lego", "trans-lora", "svd"}:
        log = api.get(f"/jobs/{jobs[kind].pk}/log").content.decode()
        assert name in log and "private adapter" not in log
    if "trans-lora" not in jobs:
        return
    report = api.get("/repositories/member/trans-lora/versions/v1").json()["report"]
    assert report["source"]["adapter"] == name and "private adapter" in json.dumps(jobs["trans-lora"].result.report)


@pytest.mark.parametrize("code", ["Invalid", "CompositionError"])
def test_a_failure_names_no_folder_host_or_private_input(people, base, tmp_path, worker, monkeypatch, code, caplog):
    """And the whole text is in the server's log, with the job's id."""
    import socket

    from composition.errors import CompositionError
    from hub.errors import Invalid

    lab = make_lab(people, base, tmp_path)
    job = queue.queue_job(actor=lab.member, request=asked(lab.member, FINE["lego"]))
    Repository.objects.filter(name="a").update(visibility=Visibility.PRIVATE)
    host, root = "gpu-box-17", worker.cache.root
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    said = f"lab/a@v1 and lab/b@v1: no {root}/x.safetensors or {tmp_path}/b on {host}"
    facts = {"seen": {said: [said]}}
    error = Invalid(said, code="bad", **facts) if code == "Invalid" else CompositionError("bad", said, **facts)

    def fail(*_: object, **__: object):
        raise error

    monkeypatch.setattr("composition.merging.lego.lego", fail)
    run(lease.claim(job.pk, worker=worker.name), worker)
    job.refresh_from_db()
    told = json.dumps(job.error, ensure_ascii=False)
    for word in ("lab/a", str(tmp_path), host):
        assert word not in told
    assert "private adapter 1 and lab/b@v1: no …/x.safetensors" in told
    assert f"job {job.pk}" in caplog.text and str(tmp_path) in caplog.text


def test_names_that_only_begin_alike_are_left_alone(people, base, tmp_path):
    from workers.telling import Telling

    lab = make_lab(people, base, tmp_path)
    job = queue.queue_job(actor=lab.member, request=asked(lab.member, FINE["lego"]))
    Repository.objects.filter(name="a").update(visibility=Visibility.PRIVATE)
    tell = Telling(job).text
    assert (
        tell("lab/a, lab/a@v1, (lab/a) and lab/a.")
        == "private adapter 1, private adapter 1, (private adapter 1) and private adapter 1."
    )
    for other in ("lab/ab@v1", "lab/a-b", "collab/a", "see https://lab/a/b", "1/2 of 3/4", "GET /jobs"):
        assert tell(other) == other
    assert tell("/models/pico/x.bin") == "…/x.bin"


def test_a_seed_that_starves_is_not_quoted():
    """Private completions are counted, and called by the seed that has them."""
    from transfer.classes import check_classes

    counts = {f"{TEXT} {n}": 30 for n in range(2)} | {f"{TEXT} thin": 1}
    (warning,) = check_classes(counts, ["", f"{TEXT} 0"], 0)
    assert TEXT not in warning and "1 class that no seed has" in warning and "30, 30, 1 samples" in warning
