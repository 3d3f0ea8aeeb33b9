"""`hubctl try`: the recipe's fields as options, answers as they come, and the routing of a mixture in words."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hub.models import Job
from hubctl.commands.work.try_out import Screen, routing_text
from tests.hub import factories
from tests.hub.mixtures import make_mixture
from tests.workers.conftest import write_base

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held(signed_in, base, tmp_path):
    """The base's weights where the worker looks, and an adapter of `ada`."""
    torch.manual_seed(0)
    write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))
    return factories.make_version(signed_in, "one", base=base, seed=1)


def test_a_trial_is_answered_and_told(hubctl, held, worker):
    told = hubctl("try", "ada/one", "--prompt", "1 + 2 =", "--max-new-tokens", "5")
    assert told.code == 0, told.err
    assert told.out.index("with ada/one@v1") < told.out.index("without: pico/llama alone")
    assert "tokens in" in told.out and "MB held at most" in told.out
    answers = Job.objects.get().outcome["answers"]
    assert all(answer["text"] in told.out for answer in answers.values())


def test_the_fields_of_the_recipe_are_options(hubctl, held, worker, tmp_path):
    (tmp_path / "doc.txt").write_text("2 + 2\n")
    asked = ("--prompt", "1", "--max-new-tokens", "3", "--temperature", "0.7", "--seed", "4", "--no-compare")
    told = hubctl("try", "ada/one", *asked, "--context", str(tmp_path / "doc.txt"), "--json")
    assert told.code == 0, told.err
    recipe = {"prompt": "1", "context": "2 + 2", "max_new_tokens": 3, "temperature": 0.7, "seed": 4, "compare": False}
    assert told.json["recipe"].items() >= recipe.items()
    assert set(told.json["outcome"]["answers"]) == {"with", "text"}


def test_the_base_answers_with_the_full_text_too(hubctl, held, worker, tmp_path):
    (tmp_path / "doc.txt").write_text("2 + 2")
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7")
    asked = ("--prompt", "1 + 2 =", "--max-new-tokens", "3")
    told = hubctl("try", "ada/one", *asked, "--context", str(tmp_path / "doc.txt"))
    assert told.code == 0, told.err
    assert told.out.index("without: pico/llama alone") < told.out.index("the full text in the prompt: pico/llama")
    for source, said in (("scan.pdf", "is a PDF"), ("missing.txt", "no file or folder")):
        refused = hubctl("try", "ada/one", *asked, "--context", str(tmp_path / source))
        assert refused.code == 1 and said in refused.err


def test_a_mixture_says_who_served_which_token(hubctl, signed_in, held, base, worker, tmp_path):
    other = factories.make_version(signed_in, "two", base=base, seed=2)
    make_mixture(signed_in, [held, other], tmp_path / "made")
    told = hubctl("try", "ada/mix", "--prompt", "1 + 2 =", "--max-new-tokens", "3", "--no-compare")
    assert told.code == 0, told.err
    assert "[1] ada/one@v1" in told.out and "[2] ada/two@v1" in told.out


def test_an_empty_prompt_and_an_unknown_adapter_are_refused(hubctl, held):
    assert hubctl("try", "ada/one", "--prompt", "").code == 1
    assert hubctl("try", "ada/nothing", "--prompt", "a").code == 4
    assert hubctl("try", "ada/one").code == 2
    assert not Job.objects.exists()


def test_runs_of_one_expert_carry_one_number():
    tokens = [{"text": text, "expert": n, "shares": [1 - n, n]} for text, n in (("a", 0), ("b", 0), ("c", 1), ("d", 1))]
    told = routing_text({"experts": ["x", "y"], "tokens": tokens, "prompt": 3})
    assert told.endswith("[1]ab[2]c\n── answer ──\n[2]d")
    assert "[1] x  50 %" in told


def test_an_attempt_that_begins_anew_gets_its_own_title(capsys):
    screen = Screen({"id": 1, "inputs": ["a/b@v1"], "base": "o/b"}, quiet=False)
    for attempt, text in ((1, "lost"), (2, "kept")):
        screen.token({"side": "with", "text": text, "tokens": 1, "attempt": attempt})
    assert capsys.readouterr().out == "── with a/b@v1 ──\nlost\n\n── with a/b@v1 ──\nkept"
