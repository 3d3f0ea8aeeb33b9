"""The bench's shortcuts against the slow way: answers without generation, RegMean in factors, its cut, kept answers."""

import pytest
import torch

from bench.quality.calibration import calibrate, in_metric, input_grams, regmean
from bench.quality.measuring import Answers, Kept, fast, read
from bench.quality.methods import call, cosine, norm, to_norm_of_mean
from bench.quality.report import table
from composition.formats import read_adapter
from composition.recipes import EvaluateRecipe
from composition.running.base_models import adapter_attached
from composition.running.evaluation import evaluate
from composition.running.prompting import Prompting
from tests.composition.test_evaluation import WORDS, chain, make_rows, make_tokenizer
from tests.pico import pico_llama, write_adapter

ROWS = make_rows(9, choices=False)


@pytest.fixture
def adapters(tmp_path):
    folders = [write_adapter(tmp_path / str(seed), seed=seed, r=3) for seed in (1, 2)]
    return folders, [read_adapter(folder) for folder in folders]


def test_one_reading_gives_the_exact_match_of_generation():
    pairs = (("w1", "w10"), ("w10", "w11"), ("w2", "w20"), ("w3", "w3"))
    model, tokenizer = chain({WORDS.index(a): WORDS.index(b) for a, b in pairs}), make_tokenizer(False)
    asked = [
        ("w0 w1", "w10 w11"),
        ("w5 w2", "w20"),
        ("w1", "w10"),
        ("w1", "w10 w11 w12"),
        ("w7 w3", "w3"),
        ("w9", "w1"),
    ]
    rows = [{"prompt": f"w8 {prompt}", "completion": completion} for prompt, completion in asked]
    found = read(model, tokenizer, rows)
    wanted = evaluate(model, tokenizer, rows, EvaluateRecipe(metrics=("exact_match", "nll"), max_new_tokens=6))
    assert found.right == [row["exact_match"] for row in wanted.per_row] == [True, True, False, False, False, False]
    assert found.nll == pytest.approx(wanted.metrics["nll"], abs=1e-4)


def test_likelihoods_are_those_of_evaluation_also_with_an_adapter(adapters):
    model, tokenizer = pico_llama(), make_tokenizer(True)
    with adapter_attached(model, adapters[0][0]) as adapted:
        found = read(adapted, tokenizer, ROWS)
        wanted = evaluate(adapted, tokenizer, ROWS, EvaluateRecipe(metrics=("nll",)))
    assert found.log_p == pytest.approx([row["log_p"] for row in wanted.per_row], abs=1e-4)
    assert found.tokens == [row["tokens"] for row in wanted.per_row]
    close = read(fast(pico_llama()), tokenizer, ROWS, bf16=True)
    assert close.log_p == pytest.approx(read(pico_llama(), tokenizer, ROWS).log_p, rel=0.05)


def test_grams_are_those_of_the_inputs_row_by_row(adapters):
    tokenizer, module = make_tokenizer(True), "model.layers.1.mlp.down_proj"
    folders, (weights, _) = adapters
    model = pico_llama()
    with adapter_attached(model, folders[0]) as adapted:
        found = input_grams(adapted, tokenizer, ROWS, list(weights))
        slow = torch.zeros(48, 48)
        kept = []
        watched = adapted.get_base_model().get_submodule(module)
        hook = watched.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0][0]))
        for row in map(Prompting(tokenizer, model.generation_config).row, ROWS):
            adapted(torch.tensor([row.prompt + row.completion]))
        hook.remove()
    for x in kept:
        slow += x.detach().T @ x.detach()
    torch.testing.assert_close(found[module], slow, rtol=1e-4, atol=1e-5)
    assert found["model.layers.0.self_attn.k_proj"] is found["model.layers.0.self_attn.q_proj"]
    assert found["model.layers.0.self_attn.o_proj"] is not found["model.layers.0.self_attn.q_proj"]


def random_grams(adapters, seed):
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, factors in adapters[0].items():
        x = torch.randn(200, factors.in_features, generator=generator)
        x *= 0.3 + torch.rand(factors.in_features, generator=generator)
        found[name] = x.T @ x
    return found


def test_regmean_and_its_cut_are_the_best_of_their_rank(adapters):
    _, pair = adapters
    grams = [random_grams(pair, seed) for seed in (1, 2)]
    facts = calibrate(pair, grams, 0.9)
    whole = regmean(pair, facts)
    cut = in_metric(call("svd", [in_metric(whole, facts)], rank=2), facts, back=True)
    plain = call("svd", [whole], rank=2)
    for name in list(whole)[:5]:
        damped = [(0.9 * g[name] + 0.1 * torch.diag(g[name].diagonal())).double() for g in grams]
        deltas = [adapter[name].delta().double() for adapter in pair]
        best = torch.linalg.solve(sum(damped), sum(d @ g for d, g in zip(deltas, damped, strict=True)).T).T
        assert float((whole[name].delta() - best).norm() / best.norm()) < 1e-3  # the ridge

        def lost(factors, deltas=deltas, damped=damped):
            off = [(factors.delta().double() - d, g) for d, g in zip(deltas, damped, strict=True)]
            return sum(float(torch.trace(w @ g @ w.T)) for w, g in off)

        assert lost(whole[name]) < lost(cut[name]) < lost(plain[name])
        assert cut[name].rank == 2


def test_norms_and_cosines_are_those_of_dense_updates(adapters):
    _, (one, two) = adapters
    stacked = [torch.cat([a[name].delta().flatten() for name in a]) for a in (one, two)]
    assert cosine(one, two) == pytest.approx(float(torch.cosine_similarity(*stacked, dim=0)), abs=1e-5)
    name = next(iter(one))
    assert norm(one[name]) == pytest.approx(float(one[name].delta().norm()), rel=1e-5)
    grown = to_norm_of_mean([one, two], one)[name]
    assert norm(grown) == pytest.approx(float((one[name].delta() + two[name].delta()).norm() / 2), rel=1e-5)


def test_a_run_that_was_cut_goes_on_where_it_was(tmp_path):
    kept = Kept(tmp_path / "kept.jsonl")
    kept.add(("a",), Answers([True, False], [-0.1, -2.0], [2, 2]), 1.5)
    again = Kept(tmp_path / "kept.jsonl")
    assert again.missing(("a",), 5) == 2 and again.missing(("a",), 1) == 1 and again.missing(("b",), 5) == 0
    again.add(("a",), Answers([True], [-0.3], [4]), 0.5)
    found = Kept(tmp_path / "kept.jsonl")
    assert found.first(("a",), 3).accuracy == pytest.approx(2 / 3)
    assert found.first(("a",), 3).nll == pytest.approx(2.4 / 8)
    assert found.seconds == 2.0


def key(label, task, split="test", stamp="s"):
    return ("generated", "unlike", label, "8", "1", task, split, "bf16", stamp)


def test_the_table_gives_what_is_kept_and_leaves_out_what_is_unfinished(tmp_path):
    kept = Kept(tmp_path / "kept.jsonl")
    rights = {"base": [0, 0, 0, 0], "own": [1, 1, 1, 0], "mean, rank Σr": [1, 0, 0, 0], "LEGO": [1, 1, 0, 0]}
    for label, right in rights.items():
        for task in ("a", "b"):
            single = label in ("base", "own")
            name = (*key(label, task)[:3], "0" if single else "8", *key(label, task, stamp="" if single else "s")[4:])
            kept.add(name, Answers([bool(value) for value in right], [-sum(right) - 1.0] * 4, [1] * 4), 0.1)
    kept.add(key("TIES", "a"), Answers([True] * 4, [-0.1] * 4, [1] * 4), 0.1)  # its second task is not measured yet
    kept.add(key("LEGO", "a", split="held back"), Answers([True] * 4, [-0.1] * 4, [1] * 4), 0.1)
    lines = table(kept, 4).splitlines()
    assert lines[0].startswith("generated, unlike, bf16: 8 rows in all")
    cells = {row[0]: row for row in ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines[2:])}
    assert set(cells) == {"merge", "---", "base", "own adapters", "LEGO", "mean, rank Σr"}
    assert cells["LEGO"][1:5] == ["8", "1", "0.500", "67%"] and cells["LEGO"][-1] == "0.67"
    assert cells["LEGO"][5].startswith("+0.250 (") and cells["own adapters"][3] == "0.750"
    assert cells["LEGO"][6] == "67%"  # (1 − 3) of (1 − 4)


def test_a_merge_is_compared_with_the_mean_on_the_same_rows(tmp_path):
    kept = Kept(tmp_path / "kept.jsonl")
    for label, right, log_p in (("own", True, -0.1), ("base", False, -5.0)):
        name = (*key(label, "a")[:3], "0", *key(label, "a", stamp="")[4:])
        kept.add(name, Answers([right] * 9, [log_p] * 9, [1] * 9), 0)
    kept.add(key("mean, rank Σr", "a"), Answers([False] * 9, [-1.0] * 9, [1] * 9), 0)
    kept.add(key("LEGO", "a"), Answers([True] * 3, [-1.0] * 3, [1] * 3), 0)
    assert "LEGO" not in table(kept, 9) and "LEGO" in table(kept, 3)
