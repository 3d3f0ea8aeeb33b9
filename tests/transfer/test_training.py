"""The training loop: its loss and gradient, passes that fit into memory, early stopping, and runs that are cut."""

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from composition.errors import Cancelled, CompositionError
from tests.pico import pico_gpt2, pico_llama
from tests.stability.margins import at_most
from tests.transfer import toy
from transfer import loss as loss_module
from transfer import training
from transfer.adapters import lora_config, trainable
from transfer.distillation import epoch_order, held_out
from transfer.loss import AnswerLoss, Example
from transfer.training import Plan, fit

pytestmark = pytest.mark.trained


def pico_gemma3(window=64):
    """Sliding and full layers in turn, as the real one has them."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
        sliding_window=window,
        layer_types=["sliding_attention", "full_attention"],
    )
    return Gemma3ForCausalLM(config).eval()


def examples(count=10, prefix=6, seed=0):
    """Rows that open alike, of different lengths, some of whose answers' tokens are not learnt."""
    generator = torch.Generator().manual_seed(seed)
    opening = torch.randint(3, 64, (prefix,), generator=torch.Generator().manual_seed(99)).tolist()
    rows = []
    for n in range(count):
        own = torch.randint(3, 64, (4 + n % 5,), generator=generator).tolist()
        answer = 1 + n % 3
        rows.append(Example([*opening, *own], [n % 4 != 0 or place == 0 for place in range(answer)]))
    return rows


def slow_loss(model, rows):
    """Mean −log p of learnt tokens, a row at a time, from all logits."""
    total, count = 0.0, 0
    for row in rows:
        log_p = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        for place, learnt in enumerate(row.learnt, len(row.ids) - len(row.learnt)):
            if learnt:
                total, count = total - log_p[place - 1, row.ids[place]], count + 1
    return total / count


def moved(adapted):
    """B is zero at the start: give it values, so that A has a gradient too."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.2, generator=generator)
    return {name: p for name, p in adapted.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("prefix", [0, 6])
@pytest.mark.parametrize("at_once", [10, 3, 1])
@pytest.mark.parametrize("base", [pico_llama, pico_gemma3, lambda: pico_gemma3(8), pico_gpt2])
def test_loss_and_gradient_are_those_of_each_row_alone(base, prefix, at_once):
    model, rows = base(), examples(prefix=prefix)
    targets = "c_attn" if model.config.model_type == "gpt2" else "q_proj,v_proj"
    with trainable(model, lora_config(4, 8.0, targets), 0) as adapted:
        parameters = moved(adapted)
        slow = slow_loss(adapted, rows)
        wanted = torch.autograd.grad(slow, list(parameters.values()))
        loss = AnswerLoss(adapted, rows, 0)
        total = sum(sum(row.learnt) for row in rows)
        value = sum(
            loss(rows[start : start + at_once], total, 0.0).backward() or 0.0 for start in range(0, len(rows), at_once)
        )
        assert value == 0.0
        for parameter, gradient in zip(parameters.values(), wanted, strict=True):
            assert torch.allclose(parameter.grad, gradient, atol=1e-5)
        with torch.no_grad():
            assert float(loss(rows, total, 0.0)) == pytest.approx(float(slow.detach()), abs=1e-5)


@pytest.mark.parametrize(("base", "length"), [(pico_llama, 6), (pico_gemma3, 6), (lambda: pico_gemma3(8), 0)])
def test_the_shared_opening_is_read_once_where_it_can_be(base, length):
    assert len(AnswerLoss(base(), examples(), 0).prefix) == length


def run(folder, model=None, steps=12, save_every=30.0, progress=training.ignore, rows=None, held=None, **plan):
    model, rows = model or pico_llama(), rows or examples(10)
    plan = {"rate": 5e-3, "rows_at_once": 4, **plan}
    with trainable(model, lora_config(4, 8.0, "q_proj,v_proj"), 0) as adapted:
        record = fit(
            adapted,
            rows,
            held if held is not None else [],
            Plan(steps=steps, epoch=3, order=epoch_order(len(rows), 4, 0), **plan),
            state=folder / "state",
            key="k",
            progress=progress,
            save_every=save_every,
        )
        return record, {n: p.detach().clone() for n, p in adapted.named_parameters() if p.requires_grad}


def same(one, other):
    return all(one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize("stop_at", [1, 5, 11])
@pytest.mark.parametrize("save_every", [0.0, 30.0])
def test_a_stopped_run_ends_with_the_same_values(tmp_path, stop_at, save_every):
    held = examples(4, seed=7)
    whole, values = run(tmp_path / "whole", held=held, patience=9)

    def stop(fraction, message="", **figures):
        if figures.get("step") == stop_at and "again" not in message:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(tmp_path / "cut", held=held, patience=9, progress=stop, save_every=save_every)
    said = []
    record, again = run(tmp_path / "cut", held=held, patience=9, progress=lambda f, m="", **k: said.append(m))
    assert same(values, again)
    assert said[0] == f"Taken up again at step {stop_at}"
    assert (record.curve, record.held, record.tokens) == (whole.curve, whole.held, whole.tokens)


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch):
    _, values = run(tmp_path / "whole")
    steps = []
    original = training._Run.step

    def killed(self, number, notes):
        steps.append(number)
        if len(steps) == 9:
            raise MemoryError  # nobody keeps the state: as a kill, between two checkpoints
        return original(self, number, notes)

    monkeypatch.setattr(training._Run, "step", killed)
    with pytest.raises(MemoryError):
        run(tmp_path / "cut", save_every=0.0)
    _, again = run(tmp_path / "cut")
    assert same(values, again) and steps[9] == 8


def test_the_best_epoch_stays_and_patience_ends_the_run(tmp_path):
    rows, held = examples(10), examples(6, seed=5)
    record, values = run(tmp_path, rows=rows, held=held, steps=60, patience=2, rate=5e-2)
    losses = [epoch["loss"] for epoch in record.held]
    assert record.stopped_early and record.best_epoch == losses.index(min(losses))
    assert len(losses) - 1 == record.best_epoch + 2 == record.steps / 3
    at_most(record.steps, 57, "steps, of 60, until it stopped")
    model = pico_llama()
    with trainable(model, lora_config(4, 8.0, "q_proj,v_proj"), 0) as adapted:
        for name, parameter in adapted.named_parameters():
            if name in values:
                parameter.data.copy_(values[name])
        assert float(slow_loss(adapted, held).detach()) == pytest.approx(min(losses), abs=1e-4)


def test_rows_at_once_are_halved_until_a_pass_fits(tmp_path, monkeypatch):
    original = loss_module.AnswerLoss.__call__

    def small_memory(self, rows, total, soft):
        if len(rows) > 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return original(self, rows, total, soft)

    _, wanted = run(tmp_path / "a", rows_at_once=1)
    monkeypatch.setattr(loss_module.AnswerLoss, "__call__", small_memory)
    record, values = run(tmp_path / "b", rows_at_once=4)
    assert record.rows_at_once == 1 and same(wanted, values)
    with pytest.raises(CompositionError, match="4 row") as caught:
        run(tmp_path / "c", rows_at_once=4, halve=False)
    assert caught.value.code == "transfer.memory"


def test_another_error_is_not_taken_for_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_module.AnswerLoss, "__call__", lambda *_: (_ for _ in ()).throw(RuntimeError("shape")))
    with pytest.raises(RuntimeError, match="shape"):
        run(tmp_path)


def test_a_diverging_run_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_module.AnswerLoss, "__call__", lambda self, *_: sum(
        p.sum() for p in self.model.parameters() if p.requires_grad) * float("nan"))  # fmt: skip
    with pytest.raises(CompositionError, match="Lower the learning rate") as caught:
        run(tmp_path)
    assert caught.value.code == "train.diverged"


def test_the_rate_falls_linearly_to_zero_and_every_epoch_sees_each_row_once(tmp_path):
    order = epoch_order(10, 4, 3)
    for epoch in range(3):
        seen = [row for step in range(3 * epoch, 3 * epoch + 3) for row in order(step)]
        assert sorted(seen) == list(range(10))
    assert order(0) != order(3)
    recipe = toy_recipe(holdout=0.25)
    held, kept = held_out(20, recipe)
    assert len(held) == 5 and sorted(held + kept) == list(range(20))
    assert held_out(9, recipe) == ([], list(range(9)))


def toy_recipe(**changes):
    from composition.recipes import TransLoraRecipe

    return TransLoraRecipe(**toy.TRANSFER | changes)
