"""The loss of a generator against the same written out slowly, with torch's own derivative."""

import contextlib

import pytest
import torch
from torch import nn

from composition.errors import RecipeError
from composition.generative.loss import TOKENS_AT_ONCE, TokenLoss, full_text, losses
from composition.generative.segments import COMPLETE, build, seeded
from composition.recipes import TrainGeneratorRecipe
from tests.composition.generators import pico_generator
from tests.pico import pico_llama


@pytest.mark.parametrize("kind", ["none", "some", "all"])
def test_token_loss_and_its_derivative(kind):
    torch.manual_seed(0)
    count, d, v = 2 * TOKENS_AT_ONCE + 3, 12, 40
    head = nn.Linear(d, v, bias=False, dtype=torch.float64)
    hidden = torch.randn(count, d, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(v, (count,))
    w = {"none": torch.zeros(count), "some": torch.rand(count).round(), "all": torch.full((count,), 0.7)}[kind].double()
    taught = torch.randn(count, d, dtype=torch.float64)
    weights = torch.rand(count, dtype=torch.float64)

    log_p = head(hidden).log_softmax(-1)
    nll = -log_p[torch.arange(count), tokens]
    cross = -(head(taught).softmax(-1).detach() * log_p).sum(-1)
    slow = (1 - w) * nll + w * cross
    (slow * weights).sum().backward()
    wanted, hidden.grad = hidden.grad, None

    found, target = TokenLoss.apply(hidden, head, tokens, w, taught[w > 0] if kind != "none" else None)
    (target * weights).sum().backward()
    assert torch.allclose(found.double(), nll, atol=1e-5) and torch.allclose(target.double(), slow, atol=1e-5)
    assert torch.allclose(hidden.grad, wanted, atol=1e-5)


def test_the_teacher_of_a_completed_segment_has_read_all_before_it():
    base = pico_llama()
    short, long = torch.arange(3, 19).view(2, 8), torch.arange(60, 28, -1).view(4, 8)
    batch = build([short, long], seeded("x"))
    with torch.no_grad():
        found = full_text(base, batch).view(len(batch.rows), 7, -1)
        for row, which, objective, states in zip(batch.rows, batch.adapters, batch.objectives, found, strict=True):
            if objective == COMPLETE:
                document, place = (short, int(which)) if which < 2 else (long, int(which) - 2)
                assert document[place + 1].equal(row)
                text = document[: place + 2].flatten()
                whole = base.base_model(input_ids=text.unsqueeze(0)).last_hidden_state[0]
                assert torch.allclose(states, whole[-8:-1], atol=1e-5), which


@pytest.mark.parametrize("objective", ["both", "completion", "reconstruction"])
def test_the_loss_is_the_cross_entropy_to_what_the_base_says_with_the_text_in_its_prompt(objective):
    base, generator = pico_llama(), pico_generator()
    batch = build([torch.arange(3, 27).view(3, 8)], seeded("x"), objective)
    with torch.no_grad():
        plain, half, whole = (losses(base, generator, batch, distillation=w) for w in (0.0, 0.5, 1.0))
    for figures in (half, whole):  # What is told stays the tokens' own cross-entropy.
        assert {k: v for k, v in figures.items() if k != "loss"} == {k: v for k, v in plain.items() if k != "loss"}
    if objective == "reconstruction":
        assert plain["loss"] == half["loss"] == whole["loss"]
        return
    from composition.generative.measure import adapter, adapting, context_state

    expected = []
    with torch.no_grad():
        for i in range(2):
            text = torch.arange(3, 27)[: 8 * (i + 2)]
            p = base(input_ids=text.unsqueeze(0)).logits[0, -8:-1].softmax(-1)
            with adapting(base, generator.config, adapter(generator, context_state(base, generator, text[:-8], 8))):
                log_p = base(input_ids=text[-8:].unsqueeze(0)).logits[0, :-1].log_softmax(-1)
            expected.append(-(p * log_p).sum(-1))
    cross = float(torch.cat(expected).mean())
    reconstruction = plain.get("reconstruction", 0.0)
    assert whole["loss"] == pytest.approx(reconstruction + cross, abs=1e-4)
    assert half["loss"] == pytest.approx((plain["loss"] + whole["loss"]) / 2, abs=1e-4)
    assert whole["loss"] != pytest.approx(plain["loss"], abs=1e-3)


def test_questions_have_no_teacher():
    with pytest.raises(RecipeError, match="stage questions"):
        TrainGeneratorRecipe(stage="questions", distillation=0.5)


def test_the_arms_of_a_measurement_are_what_their_names_say():
    """Against the base's own logits, row after row."""
    from composition.generative.measure import adapter, adapting, by_token, context_state, held_out

    base, generator = pico_llama(), pico_generator()
    documents = [list(range(3, 23)), list(range(40, 20, -1)), [5, 9] * 10, [1, 2]]
    found = by_token(base, generator, documents, 12, 8)

    def nll(ids, first, of=None):
        with torch.no_grad(), contextlib.ExitStack() as stack:
            if of is not None:
                state = context_state(base, generator, torch.tensor(documents[of][:12]))
                stack.enter_context(adapting(base, generator.config, adapter(generator, state)))
            log_p = base(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        return torch.stack([-log_p[t - 1, ids[t]] for t in range(first, len(ids))])

    for i in range(3):
        text, rest = documents[i][:12], documents[i][12:]
        for name, part in (("reconstruction", text), ("completion", rest)):
            other = (i + 1) % 3
            expected = {
                "none": nll(part, 1),
                "own": nll(part, 1, i),
                "other": nll(part, 1, other),
                "prompt": nll(text + part, 13),
                "ceiling": nll(text + part, 13, other),
            }
            assert set(found[name]) == set(expected)
            for arm, wanted in expected.items():
                assert len(found[name][arm]) == 3
                torch.testing.assert_close(found[name][arm][i], wanted, atol=1e-4, rtol=0)
    means = held_out(base, generator, documents, 12, 8)
    assert means["completion"]["own"] == pytest.approx(float(found["completion"]["own"].mean()), abs=1e-5)
    assert set(by_token(base, generator, documents, 12, 8, objectives=("completion",))) == {"completion"}
    assert held_out(base, generator, documents[:1], 12, 8) == {}
