"""Learnt coefficients: their objectives against plain references, gradients into coefficients alone, exact results."""

import numpy as np
import pytest
import torch
from peft import PeftModel

from composition.errors import CompositionError, RecipeError
from composition.formats import read_adapter
from composition.merging.calibrated.evolution import minimise
from composition.merging.calibrated.examples import Examples
from composition.merging.calibrated.lorahub import lorahub
from composition.merging.calibrated.mixture import Mixture
from composition.merging.calibrated.trained import adamerging, answers_loss, entropy, lora_soups
from composition.recipes.merge.learned import AdaMergingRecipe, LoraHubRecipe, SoupsRecipe
from tests import pico
from tests.composition.calibrated.test_inputs import tokenizer  # noqa: F401
from tests.composition.random_adapters import relative

ROWS = [[{"prompt": f"{n} + 1 =", "completion": f"w{n}"} for n in range(6)], [{"text": "w1 w2 w3"}, {"text": "5 6"}]]
QUICK = {"steps": 3, "batch_size": 4}
METHODS = [
    (lora_soups, SoupsRecipe(**QUICK)),
    (adamerging, AdaMergingRecipe(**QUICK)),
    (lorahub, LoraHubRecipe(evaluations=12)),
]


@pytest.fixture
def adapters(tmp_path):
    kinds = ("both_patterns", "few_targets")
    folders = [pico.write_kind(tmp_path / kind, kind, seed=seed) for seed, kind in enumerate(kinds)]
    return [read_adapter(folder) for folder in folders]


@pytest.fixture
def place(tokenizer):  # noqa: F811
    return {"model": pico.pico_llama(), "tokenizer": tokenizer, "data": ROWS}


def summed(adapters, module, coefficients):
    found = [(a[module].delta(), c) for a, c in zip(adapters, coefficients, strict=True) if module in a]
    return sum(delta.double() * c for delta, c in found)


def plain_losses(model, examples) -> tuple[float, float]:
    """(mean −log p of the answers' tokens, mean entropy behind each row), row by row without padding."""
    losses, entropies = [], []
    for row in examples.rows:
        with torch.no_grad():
            p = model(torch.tensor([row.ids])).logits[0].double().softmax(-1)
        begin = len(row.ids) - row.answer
        losses += [-float(p[at - 1, row.ids[at]].log()) for at in range(begin, len(row.ids))]
        entropies.append(-float((p[-1] * p[-1].log()).sum()))
    return float(np.mean(losses)), float(np.mean(entropies))


@pytest.mark.parametrize("by", ["all", "layer", "module"])
def test_a_mixture_at_work_is_the_sum_of_the_updates(adapters, by):
    mixture = Mixture(adapters, (0.7, -0.4), by)
    mixture.coefficients[-1, 0] = 1.3
    deltas = {m: summed(adapters, m, mixture.coefficients[mixture.group_of[m]].tolist()) for m in mixture.names}
    expected = pico.delta_logits(deltas)
    model = pico.pico_llama()
    with mixture.on(model), torch.no_grad():
        assert torch.allclose(model(pico.tokens()).logits, expected, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(model(pico.tokens()).logits, pico.pico_llama()(pico.tokens()).logits)


def test_groups_are_all_modules_layers_or_modules(adapters):
    assert Mixture(adapters, (1, 1)).groups == ["all"]
    assert Mixture(adapters, (1, 1), "layer").groups == ["layer 0", "layer 1"]
    assert len(Mixture(adapters, (1, 1), "module").groups) == 14


@pytest.mark.parametrize(("objective", "answers", "which"), [(answers_loss, True, 0), (entropy, False, 1)])
def test_objectives_are_those_of_every_row_by_itself(place, objective, answers, which):
    recipe = SoupsRecipe(batch_size=64)
    examples = Examples(place["tokenizer"], place["model"], ROWS, recipe, answers=answers)
    (batch,) = examples.all()
    with torch.no_grad():
        found = float(objective(place["model"], batch))
    assert found == pytest.approx(plain_losses(place["model"], examples)[which], rel=1e-4)


@pytest.mark.parametrize(("objective", "answers"), [(answers_loss, True), (entropy, False)])
def test_gradients_reach_the_coefficients_and_nothing_else(adapters, place, objective, answers):
    """And they are the differences of the objective."""
    model = place["model"]
    batch = Examples(place["tokenizer"], model, ROWS, SoupsRecipe(), answers=answers).all()[0]
    mixture = Mixture(adapters, (0.5, 0.5), "layer")
    learnt = mixture.coefficients.requires_grad_()
    with mixture.on(model):
        objective(model, batch).backward()
        assert all(parameter.grad is None for parameter in model.parameters())
        for place_of in ((0, 0), (1, 1)):
            ends = []
            for step in (1e-2, -1e-2):
                with torch.no_grad():
                    learnt[place_of] += step
                    ends.append(float(objective(model, batch)))
                    learnt[place_of] -= step
            assert float(learnt.grad[place_of]) == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=0.05, abs=1e-4)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_first_step_goes_against_the_gradient(adapters, place):
    """AdamW's first step is the rate against the gradient's sign, whatever its size."""
    recipe = SoupsRecipe(steps=1, batch_size=64, learning_rate=0.05, by="all")
    examples = Examples(place["tokenizer"], place["model"], ROWS, recipe, answers=True)
    mixture = Mixture(adapters, (0.5, 0.5))
    learnt = mixture.coefficients.requires_grad_()
    with mixture.on(place["model"]):
        answers_loss(place["model"], examples.batch(0)).backward()
    result = lora_soups(adapters, recipe, **place)
    moved = torch.tensor(result.report["coefficients"]["all"]) - 0.5
    assert torch.allclose(moved, -0.05 * learnt.grad[0].sign(), atol=1e-4)


@pytest.mark.parametrize(("method", "recipe"), METHODS, ids=lambda value: getattr(value, "kind", ""))
def test_the_result_is_the_sum_with_the_coefficients_that_are_told(adapters, place, method, recipe):
    result = method(adapters, recipe, **place)
    mixture = Mixture(adapters, (1, 1), getattr(recipe, "by", "all"))
    told = [result.report["coefficients"][group] for group in mixture.groups]
    for module in mixture.names:
        expected = summed(adapters, module, told[mixture.group_of[module]])
        if expected.norm():
            assert relative(result.weights[module].delta(), expected) < 1e-5
    assert [row["rows"] for row in result.report["read"]] == [6, 2]
    assert len(result.report["training"]["curve"]) == result.report["training"]["steps"]
    assert not any(module._forward_hooks for module in place["model"].model.modules())


@pytest.mark.parametrize(("method", "recipe"), METHODS, ids=lambda value: getattr(value, "kind", ""))
def test_a_stopped_run_goes_on_to_the_same(adapters, place, method, recipe, tmp_path):
    class Stop(Exception):
        pass

    whole = method(adapters, recipe, **place)

    def stop(fraction, message="", **figures):
        if message.startswith(("Step 2", "Evaluation 3")):
            raise Stop

    with pytest.raises(Stop):
        method(adapters, recipe, **place, work=tmp_path, progress=stop)
    again = method(adapters, recipe, **place, work=tmp_path)
    assert again.report["coefficients"] == whole.report["coefficients"]
    assert all(torch.equal(again.weights[m].A, whole.weights[m].A) for m in whole.weights)


def test_lorahub_takes_the_best_that_it_tried(adapters, place):
    recipe = LoraHubRecipe(evaluations=12, penalty=0.3)
    result = lorahub(adapters, recipe, **place)
    best = result.report["coefficients"]["all"]
    losses = [point["loss"] for point in result.report["training"]["curve"]]
    assert len(losses) == 12 and result.report["training"]["loss"] == min(losses)
    deltas = {m: summed(adapters, m, best) for m in Mixture(adapters, (1, 1)).names}
    model = pico.pico_llama()
    for name, delta in deltas.items():
        model.get_submodule(name).weight.data += delta.float()
    examples = Examples(place["tokenizer"], model, ROWS, recipe, answers=True)
    expected = plain_losses(model, examples)[0] + 0.3 * np.mean(np.abs(best))
    assert min(losses) == pytest.approx(expected, rel=1e-3)


def test_a_rank_cuts_the_sum_and_the_report_says_what_is_left(adapters, place):
    recipe = SoupsRecipe(**QUICK, rank=2)
    result = lora_soups(adapters, recipe, **place)
    assert result.report["rank"] == 2 and 0 < result.report["summary"]["retained"] < 1


def test_peft_runs_what_was_learnt(adapters, place, tmp_path):
    from composition.weights import save_peft

    result = lora_soups(adapters, SoupsRecipe(**QUICK), **place)
    save_peft(result.weights, tmp_path / "out", base_model=pico.BASE)
    model = PeftModel.from_pretrained(pico.pico_llama(), str(tmp_path / "out")).eval()
    expected = pico.delta_logits({m: f.delta() for m, f in result.weights.items()})
    with torch.no_grad():
        assert torch.allclose(model(pico.tokens()).logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ([], "merge.no_data"),
        ([[]], "merge.empty_data"),
        ([[{"prompt": "1 + 1"}]], "merge.no_answers"),
    ],
)
@pytest.mark.parametrize("method", [lora_soups, lorahub])
def test_what_teaches_nothing_is_refused(adapters, place, method, data, code):
    recipe = SoupsRecipe(**QUICK) if method is lora_soups else LoraHubRecipe()
    with pytest.raises(CompositionError) as refused:
        method(adapters, recipe, **{**place, "data": data})
    assert refused.value.code == code


def test_prompts_without_answers_are_enough_for_adamerging(adapters, place):
    result = adamerging(adapters, AdaMergingRecipe(**QUICK), **{**place, "data": [[{"prompt": "1 + 1 ="}]]})
    assert len(result.report["coefficients"]["layer 0"]) == 2


def test_weights_are_where_coefficients_begin(adapters, place):
    still = SoupsRecipe(steps=1, learning_rate=1e-7, weights=(0.25, -2.0), by="all")
    assert lora_soups(adapters, still, **place).report["coefficients"]["all"] == pytest.approx([0.25, -2.0], abs=1e-5)
    assert SoupsRecipe().begin(4) == (0.25,) * 4
    assert AdaMergingRecipe().begin(2) == (0.3, 0.3)
    assert LoraHubRecipe().begin(2) == (0.0, 0.0)


def test_fields_out_of_range_are_refused():
    for field, value in {"by": "row", "steps": 0, "learning_rate": 2.0}.items():
        with pytest.raises(RecipeError):
            SoupsRecipe(**{field: value})
    with pytest.raises(RecipeError):
        LoraHubRecipe(evaluations=1)


class TestSearch:
    def test_it_finds_the_least_of_a_bent_bowl(self):
        bend = np.array([[1.0, 0.8], [0.8, 1.0]])
        target = np.array([0.7, -0.3])

        def bowl(x):
            return float((x - target) @ bend @ (x - target))

        best, least = minimise(bowl, (0, 0), evaluations=400, bound=1.5, seed=0)
        assert np.allclose(best, target, atol=1e-3) and least == bowl(best)

    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_it_stays_within_bounds_and_budget_and_begins_where_it_is_told(self, size):
        seen = []

        def far(x):
            seen.append(x.copy())
            return -float(x.sum())

        _, least = minimise(far, (0.1,) * size, evaluations=53, bound=1.5, seed=1)
        assert len(seen) == 53 and np.allclose(seen[0], 0.1)
        assert np.abs(seen).max() <= 1.5 and least == min(-float(x.sum()) for x in seen)

    def test_the_seed_decides(self):
        def run(seed):
            return minimise(lambda x: float(x @ x), (1, 1), evaluations=30, bound=1.5, seed=seed)[0]

        assert np.array_equal(run(3), run(3)) and not np.array_equal(run(3), run(4))
