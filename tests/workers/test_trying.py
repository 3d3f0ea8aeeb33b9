"""Trials from the row to the answer: streamed, kept with the job, cancelled between two tokens, hidden from others."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from composition.errors import RecipeError
from composition.recipes import TryRecipe
from composition.running.try_out import try_out
from hub.errors import Invalid
from hub.models import Job, Repository, State
from hub.services.jobs import queue, waiting
from tests.hub import asking, factories
from tests.hub.mixtures import make_mixture
from tests.workers.conftest import write_base
from workers.attempt import Attempt
from workers.kinds import try_out as trying
from workers.runner import run

pytestmark = pytest.mark.django_db(transaction=True)
PROMPT = "1 + 2 ="


@pytest.fixture
def held(worker, base, tmp_path):
    """The pico base on the worker's disk."""
    torch.manual_seed(0)
    return write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))


@pytest.fixture
def strong(owner, base):
    tensors = {k: v * 5 for k, v in factories.adapter_tensors(targets=("q_proj", "down_proj")).items()}
    return factories.make_version(owner, "strong", base=base, targets=("q_proj", "down_proj"), tensors=tensors)


@pytest.fixture
def heard(monkeypatch):
    """What was published as `token` events."""
    events = []
    monkeypatch.setattr(trying, "publish_progress", lambda pk, event, **data: events.append((event, data)))
    return events


def ask(owner, version, **recipe) -> Job:
    recipe = {"prompt": PROMPT, "max_new_tokens": 8, **recipe}
    return asking.queue_job(actor=owner, kind="try", recipe=recipe, inputs=[version])


def test_both_sides_answer_and_are_kept(held, work, owner, strong, worker, base, heard):
    job = work(ask(owner, strong))
    assert (job.state, job.error, job.result, job.output_path) == (State.DONE, None, None, "")
    answers = job.outcome["answers"]
    model, tokenizer = worker.models.get(base)
    bare = try_out(model, tokenizer, TryRecipe(prompt=PROMPT, max_new_tokens=8))
    assert answers["without"]["text"] == bare.text != answers["with"]["text"]
    assert answers["with"]["prompt_tokens"] == 4 and answers["with"]["routing"] is None
    assert job.outcome["memory"] > 10**7
    for side in ("with", "without"):
        told = [data for event, data in heard if event == "token" and data["side"] == side]
        assert "".join(data["text"] for data in told).strip() == answers[side]["text"]
        assert told[-1]["tokens"] == answers[side]["tokens"]
        assert {data["attempt"] for data in told} == {1}
    assert Repository.objects.count() == 1


def test_the_base_keeps_silent_where_nobody_asks_it(held, work, owner, strong, heard):
    job = work(ask(owner, strong, compare=False))
    assert set(job.outcome["answers"]) == {"with"}


def test_the_full_text_is_read_by_the_base_alone(held, work, owner, strong, base, worker, heard):
    job = work(ask(owner, strong, context="3 + 4 = 7", max_new_tokens=4))
    assert (job.state, job.error) == (State.DONE, None)
    answers = job.outcome["answers"]
    assert list(answers) == ["with", "without", "text"]
    assert answers["with"]["prompt_tokens"] == answers["without"]["prompt_tokens"] < answers["text"]["prompt_tokens"]
    full = TryRecipe(prompt=PROMPT, context="3 + 4 = 7", max_new_tokens=4)
    assert answers["text"]["text"] == try_out(*worker.models.get(base), full).text
    assert {data["side"] for event, data in heard if event == "token"} == {"with", "without", "text"}
    alone = work(ask(owner, strong, context="3", max_new_tokens=2, compare=False))
    assert set(alone.outcome["answers"]) == {"with", "text"}


def test_a_full_text_too_long_is_refused_before_anything_is_answered(held, work, owner, strong, heard):
    job = work(ask(owner, strong, context="1 " * 80))
    assert (job.state, job.error["code"]) == (State.FAILED, "try.too_long")
    assert not heard


def test_an_adapter_that_replaces_its_base_is_compared_with_the_real_one(held, work, owner, base, worker, heard):
    config = {"init_lora_weights": "pissa"}
    pissa = factories.make_version(owner, "pissa", base=base, config=config, targets=("q_proj",))
    bare = try_out(*worker.models.get(base), TryRecipe(prompt=PROMPT, max_new_tokens=8)).text
    job = work(ask(owner, pissa, context="3"))
    assert (job.state, job.error) == (State.DONE, None)
    assert set(job.outcome["answers"]) == {"with", "without", "text"}
    assert job.outcome["answers"]["without"]["text"] == bare


def test_a_mixtures_answer_says_who_served_which_token(held, work, owner, pair, tmp_path, heard):
    mix = make_mixture(owner, pair, tmp_path / "made")
    job = work(ask(owner, mix))
    assert (job.state, job.error) == (State.DONE, None)
    answer = job.outcome["answers"]["with"]
    assert answer["routing"]["experts"] == ["ada/first@v1", "ada/second@v1"]
    assert len(answer["routing"]["tokens"]) == answer["prompt_tokens"] + answer["tokens"]
    assert job.outcome["answers"]["without"]["routing"] is None


def test_a_cancelled_trial_ends_at_its_next_token(held, worker, owner, strong, heard, monkeypatch):
    job = ask(owner, strong, max_new_tokens=30)
    claimed = worker.claim(job.pk)
    told, check = [], Attempt.check

    def cancel_at_once(self):
        if told:
            check(self)
            pytest.fail("it went on")
        if heard:
            told.append(1)
            queue.cancel_job(actor=owner, job=Job.objects.get(pk=job.pk))
            self.over.set()
        check(self)

    monkeypatch.setattr(Attempt, "check", cancel_at_once)
    run(claimed, worker)
    job.refresh_from_db()
    assert (job.state, job.outcome) == (State.CANCELLED, None)


def test_the_adapter_stays_attached_for_the_next_trial_and_for_nothing_else(
    held, work, owner, strong, pair, base, worker, heard, monkeypatch
):
    from peft import PeftModel

    attached, attach = [], PeftModel.from_pretrained
    monkeypatch.setattr(PeftModel, "from_pretrained", lambda *a, **k: attached.append(1) or attach(*a, **k))
    model, _ = worker.models.get(base)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, again = (work(ask(owner, strong)).outcome["answers"] for _ in range(2))
    assert len(attached) == 1
    assert [first[side]["text"] for side in first] == [again[side]["text"] for side in again]
    assert work(ask(owner, pair[0])).state == State.DONE
    assert len(attached) == 2
    bare, _ = worker.models.get(base)
    assert bare is model
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert not hasattr(model, "peft_config")


def test_a_refusal_costs_no_loaded_base(held, work, owner, strong, base, worker, heard):
    model, _ = worker.models.get(base)
    job = work(ask(owner, strong, prompt="1 " * 80))
    assert (job.state, job.error["code"]) == (State.FAILED, "try.too_long")
    assert worker.models.get(base)[0] is model


def test_what_can_not_be_tried_is_refused_before_it_is_queued(owner, strong, pair):
    with pytest.raises(RecipeError, match="empty"):
        ask(owner, strong, prompt="  ")
    with pytest.raises(Invalid, match="at most 1"):
        asking.queue_job(actor=owner, kind="try", recipe={"prompt": "a"}, inputs=pair)
    with pytest.raises(Invalid, match="at least 1"):
        asking.queue_job(actor=owner, kind="try", recipe={"prompt": "a"})
    assert not Job.objects.exists()


def test_a_trial_without_a_worker_says_so(owner, strong):
    report = asking.check_job(actor=owner, kind="try", recipe={"prompt": "a"}, inputs=[strong])
    assert report["ok"] and "worker" in report["waiting_for"]
    assert "worker" in waiting.waiting_for(ask(owner, strong))
