"""kill -9 in the middle of a transfer's training: another worker of the machine goes on and comes to the same bytes."""

import json

import pytest
import torch
from django.conf import settings as django_settings
from transformers import LlamaConfig, LlamaForCausalLM

from hub.models import Job, JobFile, State
from hub.progress import read_progress
from hub.services.content.manifest import manifest_of
from tests.hub import asking, factories
from tests.workers.conftest import write_base
from tests.workers.stage import until
from tests.workers.test_kill import give, nursery, stage, state  # noqa: F401 - fixtures

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services]
RECIPE = {"filter": "none", "samples": 8, "epochs": 6, "batch_size": 4, "holdout": 0.25, "max_length": 48}
RECIPE |= {"max_new_tokens": 12, "answer_tokens": 4, "temperature": 1.5, "top_p": 1.0, "synthesis_batch": 8}
SEEDS = "".join(json.dumps({"prompt": f"w{n} + w{n} =", "completion": f"w{n + 1}"}) + "\n" for n in range(5))


@pytest.fixture
def moves(owner, base, worker, tmp_path):
    """Queue one transfer after another; both bases are on this worker's disk and on the processes'."""
    target = factories.make_base("pico/next")
    adapter = factories.make_version(owner, "sums", base=base, seed=1)
    for root in (tmp_path / "bases", django_settings.HUB_DATA / "bases"):
        for seed, name in enumerate(("llama", "next")):
            torch.manual_seed(seed)
            write_base(root / "pico" / name, LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))

    def move(output: str) -> Job:
        asked = {"kind": "trans-lora", "recipe": RECIPE | {"least_per_class": 0}, "files": {"seeds": SEEDS}}
        return asking.queue_job(actor=owner, inputs=[adapter], base=target, output=("ada", output), **asked)

    return move


def weights(job: Job) -> tuple:
    manifest = manifest_of(job.result.revisions.get())
    return manifest["adapter_model.safetensors"], manifest["adapter_config.json"]


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_a_transfer_costs_time_only(stage, moves, work, tmp_path):  # noqa: F811
    expected = work(moves("undisturbed"))
    assert (expected.state, expected.error) == (State.DONE, None)
    cache = tmp_path / "shared-cache"
    victim, job = stage("victim", "distilling", cache), moves("rescued")
    give(job, victim)
    assert state(job) == State.RUNNING
    victim.kill()
    folder = cache / f"transfer-{job.pk}"
    assert (folder / "samples.jsonl").exists()
    rescuer = stage("rescuer", cache=cache)
    until(lambda: state(job) in (State.DONE, State.FAILED), 90, say=rescuer.story)
    job.refresh_from_db()
    assert (job.state, job.error, job.attempt, job.lost) == (State.DONE, None, 2, 1)
    assert weights(job) == weights(expected)
    said = [data.get("message", "") for _, event, data in read_progress(job.pk) if data.get("attempt") == 2]
    assert any(text.startswith("Taken up again at step 3") for text in said), said
    until(lambda: not folder.exists(), 30, say=rescuer.story)  # after DONE, which others see first
    assert not JobFile.objects.filter(blob__isnull=False).exists()
