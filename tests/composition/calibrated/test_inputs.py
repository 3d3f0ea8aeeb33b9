"""Activation Grams against a slow reading of every row by itself with peft; what is shared, kept and read again."""

import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerFast

from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.merging.calibrated import texts
from composition.merging.calibrated.inputs import Inputs, parts_of
from composition.merging.calibrated.kept import read_gram, write_grams
from composition.merging.calibrated.regmean import RegMeanRecipe, regmean, regmean_of_grams
from composition.merging.calibrated.texts import Text, text_of
from composition.merging.units import module_names
from tests import pico
from tests.composition.random_adapters import random_adapter, relative
from tests.workers.conftest import write_base

ROWS = [
    [{"prompt": "1 + 2 =", "completion": "3"}, {"prompt": "w1 w2 w3 w4 w5 w6", "completion": "w7 w8"}],
    [{"text": "w9 w10 w11"}, {"text": "5 6 7 8 9 0 1 2 3"}, {"prompt": "w4 + w5"}],
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = write_base(tmp_path_factory.mktemp("base"), pico.pico_llama())
    return PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.fixture
def folders(tmp_path):
    kinds = ("both_patterns", "few_targets")
    return [pico.write_kind(tmp_path / kind, kind, seed=seed) for seed, kind in enumerate(kinds)]


@pytest.fixture
def adapters(folders):
    return [read_adapter(folder) for folder in folders]


def slow_grams(folder, rows, modules, model=None):
    """XᵀX / T of each module, one row at a time, under the adapter as peft runs it, in float64."""
    model = PeftModel.from_pretrained(pico.pico_llama() if model is None else model, str(folder)).eval()
    sums, tokens = {}, 0
    for ids in rows:
        seen = {}
        handles = [
            model.base_model.model.get_submodule(name).register_forward_pre_hook(
                lambda module, inputs, name=name, seen=seen: seen.update({name: inputs[0].detach()[0].double()})
            )
            for name in modules
        ]
        with torch.no_grad():
            model(torch.tensor([ids]))
        for handle in handles:
            handle.remove()
        tokens += len(ids)
        for name, x in seen.items():
            sums[name] = sums.get(name, 0) + x.mT @ x
    return {name: gram / tokens for name, gram in sums.items()}


def text(*lengths: int) -> Text:
    rows = [tuple(pico.tokens(1, length, seed).flatten().tolist()) for seed, length in enumerate(lengths)]
    return Text(tuple(sorted(rows, key=len)))


@pytest.mark.parametrize("batch", [4096, 20])
def test_grams_are_those_of_every_row_by_itself(adapters, folders, monkeypatch, batch):
    monkeypatch.setattr(texts, "TOKENS", batch)
    given, names = text(3, 9, 4, 7, 12, 9), module_names(adapters)
    inputs = Inputs(pico.pico_llama(), names)
    leaders = sorted(set(inputs.leaders.values()))
    found = inputs.grams(adapters[0], given, 0, leaders)
    expected = slow_grams(folders[0], given.rows, names)
    assert set(found) == set(leaders)
    for name in names:
        assert relative(found[inputs.leaders[name]], expected[name]) < 1e-5


def test_modules_that_read_one_tensor_share_a_gram(adapters):
    leaders = Inputs(pico.pico_llama(), module_names(adapters)).leaders
    for layer in range(2):
        at = f"model.layers.{layer}."
        assert len({leaders[f"{at}self_attn.{name}"] for name in ("q_proj", "k_proj", "v_proj")}) == 1
        assert leaders[f"{at}mlp.gate_proj"] == leaders[f"{at}mlp.up_proj"]
        assert leaders[f"{at}self_attn.o_proj"] == f"{at}self_attn.o_proj"
    assert len(set(leaders.values())) == 8


def test_a_conv1d_base_is_read_too(tmp_path):
    model = pico.pico_gpt2()
    folder = pico.write_adapter(
        tmp_path / "gpt2", model=model, target_modules=["c_attn", "c_fc"], r=4, lora_alpha=8, fan_in_fan_out=True
    )
    adapter, given = read_adapter(folder), text(5, 8)
    inputs = Inputs(pico.pico_gpt2(), list(adapter))
    found = inputs.grams(adapter, given, 0, list(adapter))
    expected = slow_grams(folder, given.rows, list(adapter), pico.pico_gpt2())
    assert all(relative(found[name], expected[name]) < 1e-5 for name in adapter)
    assert found["transformer.h.0.mlp.c_fc"].shape == (32, 32)


def test_the_base_is_left_as_it_was(adapters):
    model = pico.pico_llama()
    before = model(pico.tokens()).logits
    inputs = Inputs(model, module_names(adapters))
    inputs.grams(adapters[0], text(5), 0, list(inputs.widths()))
    assert torch.equal(model(pico.tokens()).logits, before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.model.modules())


def test_a_module_that_is_no_linear_layer_is_refused():
    with pytest.raises(CompositionError, match="LlamaRMSNorm") as refused:
        Inputs(pico.pico_llama(), ["model.norm"])
    assert refused.value.code == "merge.not_linear"
    with pytest.raises(CompositionError, match="no module"):
        Inputs(pico.pico_llama(), ["model.layers.9.q_proj"])


def test_kept_grams_are_read_as_they_were(tmp_path):
    x = torch.randn(30, 7)
    write_grams(tmp_path, {"a": x.mT @ x, "b": torch.ones(1, 1)})
    assert torch.equal(read_gram(tmp_path, "a"), (x.mT @ x).triu() + (x.mT @ x).triu(1).mT)
    assert torch.equal(read_gram(tmp_path, "b"), torch.ones(1, 1))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4 * (28 + 1) + 300


def test_parts_keep_within_the_budget_and_leave_nothing_out():
    widths = {"a": 4, "b": 4, "c": 8, "d": 2}
    assert parts_of(widths, 10**9) == [["a", "b", "c", "d"]]
    assert parts_of(widths, 128) == [["a", "b"], ["c"], ["d"]]
    assert parts_of(widths, 1) == [["a"], ["b"], ["c"], ["d"]]


def test_rows_of_every_kind_become_tokens(tokenizer):
    model, recipe = pico.pico_llama(), RegMeanRecipe(rows=9, max_length=8)
    ids = tokenizer("1 + 2 = 3")["input_ids"]
    assert text_of(tokenizer, model, ROWS[0][:1], recipe).rows == ((*ids, 2),)
    assert text_of(tokenizer, model, [{"prompt": "1 + 2 ="}], recipe).rows == (tuple(ids[:-1]),)
    assert text_of(tokenizer, model, [{"text": "1 + 2 = 3"}], recipe).rows == (tuple(ids),)
    assert max(map(len, text_of(tokenizer, model, ROWS[1], recipe).rows)) == 8


def test_as_many_rows_are_drawn_as_were_asked_for_by_the_seed(tokenizer):
    rows = [{"text": f"w{n} w{n + 1}"} for n in range(40)]

    def drawn(seed):
        return text_of(tokenizer, pico.pico_llama(), rows, RegMeanRecipe(rows=6, seed=seed)).rows

    assert len(drawn(0)) == 6 and drawn(0) == drawn(0) != drawn(1)


def test_the_whole_merge_is_that_of_slow_grams(adapters, folders, tokenizer):
    recipe = RegMeanRecipe(rank=3)
    model = pico.pico_llama()
    result = regmean(adapters, recipe, model=model, tokenizer=tokenizer, data=ROWS)
    names = module_names(adapters)
    grams = [
        slow_grams(folder, text_of(tokenizer, model, rows, recipe).rows, names)
        for folder, rows in zip(folders, ROWS, strict=True)
    ]
    expected = regmean_of_grams(adapters, recipe, lambda adapter, module: grams[adapter][module])
    for name in names:
        assert relative(result.weights[name].delta(), expected.weights[name].delta()) < 1e-3
    assert [told["rows"] for told in result.report["read"]] == [2, 3]


def test_grams_are_kept_and_parts_change_nothing(adapters, tokenizer, tmp_path):
    made, asked = [], []

    def keep(adapter, what, fill):
        folder = tmp_path / f"{adapter} {what}"
        asked.append(folder)
        if not folder.is_dir():
            folder.mkdir()
            fill(folder)
            made.append(folder)
        return folder

    def run(budget=10**9, recipe=None, **more):
        given = recipe or RegMeanRecipe(rank=2)
        told = {"model": pico.pico_llama(), "tokenizer": tokenizer, "data": ROWS, "keep": keep, **more}
        return regmean(adapters, given, budget=budget, **told)

    first = run()
    assert len(made) == 2
    run(recipe=RegMeanRecipe(rank=4, off_diagonal=0.5, weights=(1.0, 2.0)))
    assert len(made) == 2 and len(asked) == 4
    run(data=[ROWS[0], ROWS[1][:2]])
    assert len(made) == 3
    split = run(budget=1)
    assert len(made) == 3 + 2 * 8
    assert all(relative(split.weights[m].delta(), first.weights[m].delta()) < 1e-6 for m in first.weights)


def test_a_stop_between_adapters_keeps_what_was_read(adapters, tokenizer, tmp_path):
    class Stop(Exception):
        pass

    filled = []

    def keep(adapter, what, fill):
        folder = tmp_path / str(adapter)
        if not folder.is_dir():
            folder.mkdir()
            fill(folder)
            filled.append(adapter)
        return folder

    def stop(fraction, message="", **figures):
        if fraction >= 0.45:
            raise Stop

    model = pico.pico_llama()
    with pytest.raises(Stop):
        regmean(adapters, RegMeanRecipe(), model=model, tokenizer=tokenizer, data=ROWS, keep=keep, progress=stop)
    assert filled in ([0], [])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.model.modules())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ([], "merge.no_data"),
        (ROWS[:1], "merge.no_data"),
        ([ROWS[0], []], "merge.empty_data"),
        ([ROWS[0]] * 3, "merge.unknown_data"),
    ],
)
def test_data_that_do_not_suit_are_refused(tokenizer, data, code):
    adapters = [random_adapter(1, name="one"), random_adapter(2, name="two")]
    with pytest.raises(CompositionError) as refused:
        regmean(adapters, RegMeanRecipe(), model=pico.pico_llama(), tokenizer=tokenizer, data=data)
    assert refused.value.code == code
