"""The recipes of a transfer: what they refuse before anything is loaded, and the cost they estimate."""

from dataclasses import replace

import pytest

from composition.errors import CompositionError, RecipeError
from composition.facts import AdapterFacts, ModuleFacts
from composition.recipes import (
    CrossLoraRecipe,
    DiscriminatorRecipe,
    LoRamRecipe,
    PortLlmRecipe,
    TransLoraRecipe,
    check_memory,
    memory_estimate,
)
from composition.registry import METHODS, methods_of

SMOLLM2 = {"parameters": 134_515_008, "layers": 30, "width": 576, "vocabulary": 49_152}


def facts(**more):
    q = ModuleFacts(r=4, in_features=8, out_features=8, scale=1.0)
    plain = {"peft_type": "LORA", "dtype": "F32", "parameters": 0, "bytes": 0, "target_modules": []}
    return AdapterFacts(modules={"q": q}, **plain, **more)


def test_transfers_are_rows_of_one_verb_and_trans_lora_comes_first():
    assert [method.kind for method in methods_of("transfer")] == ["trans-lora", "portllm", "cross-lora", "loram"]
    assert METHODS["discriminator"].verb == "discriminator"


def test_published_values_are_the_defaults():
    recipe = TransLoraRecipe()
    assert (recipe.samples, recipe.epochs, recipe.batch_size, recipe.shots) == (250, 20, 8, 5)
    assert recipe.target_modules == "q_proj,v_proj" and recipe.filter == "discriminator"
    assert recipe.token_share == 0.7 and recipe.soft_targets == 0 and recipe.synthesiser == "target"


@pytest.mark.parametrize(
    ("cls", "field", "value"),
    [
        (TransLoraRecipe, "micro_batch", "many"),
        (TransLoraRecipe, "micro_batch", "0"),
        (TransLoraRecipe, "filter", "best"),
        (TransLoraRecipe, "samples", 0),
        (TransLoraRecipe, "similarity", 1.5),
        (TransLoraRecipe, "peft_type", "prefix"),
        (TransLoraRecipe, "temperature", 0.0),
        (TransLoraRecipe, "precision", "int4"),
        (DiscriminatorRecipe, "least_recall", 1.1),
        (DiscriminatorRecipe, "holdout", 0.0),
        (DiscriminatorRecipe, "batch_size", 1),
        (CrossLoraRecipe, "subspace", 0),
    ],
)
def test_a_bad_value_is_refused_with_its_field(cls, field, value):
    with pytest.raises(RecipeError) as caught:
        cls(**{field: value})
    assert caught.value.field == field


def test_seeds_and_discriminator_are_asked_for():
    recipe = TransLoraRecipe()
    with pytest.raises(CompositionError, match="Give about 5 rows"):
        recipe.check_parties(0, True)
    with pytest.raises(CompositionError, match="token-score") as caught:
        recipe.check_parties(5, False)
    assert caught.value.code == "transfer.no_discriminator"
    replace(recipe, filter="token-score").check_parties(1, False)
    replace(recipe, filter="none").check_parties(1, False)
    assert recipe.warnings(5) == [] and "15" in recipe.warnings(3)[0]


def test_too_few_real_inputs_are_refused():
    with pytest.raises(CompositionError, match="15 were given"):
        DiscriminatorRecipe().check_data(15, 5)
    DiscriminatorRecipe().check_data(16, 5)


@pytest.mark.parametrize("recipe", [PortLlmRecipe(), CrossLoraRecipe(), LoRamRecipe()])
def test_shortcuts_take_one_plain_lora(recipe):
    recipe.check([("me/a", facts())])
    need = {"code": "dora", "reason": "DoRA needs the base.", "do": "Convert it."}
    with pytest.raises(CompositionError, match="can't be transferred: DoRA") as caught:
        recipe.check([("me/a", facts(needs_base=[need]))])
    assert caught.value.code == "transfer.needs_base"
    with pytest.raises(CompositionError, match="at least 1 adapter"):
        recipe.check([])


def test_the_estimate_is_its_parts_and_grows_with_what_grows():
    recipe = TransLoraRecipe()
    parts = memory_estimate(recipe=recipe, **SMOLLM2)
    assert parts["total"] == sum(value for name, value in parts.items() if name != "total")
    assert parts["weights"] == 4 * SMOLLM2["parameters"]
    assert parts["adapter"] == 30 * 2 * 2 * 576 * 8 * 16
    assert parts["activations"] == 512 * 30 * 576 * 68

    def total(**changes):
        return memory_estimate(recipe=replace(recipe, **changes), **SMOLLM2)["total"]

    assert total(precision="int8") < total(precision="bfloat16") < total()
    assert total(gradient_checkpointing=True) < total() < total(max_length=1024)
    assert total(micro_batch="4") > total(micro_batch="1") == total()
    assert total(micro_batch="64", batch_size=8) == total(micro_batch="8")


def test_a_base_without_room_is_refused_with_what_to_do():
    needed = memory_estimate(recipe=TransLoraRecipe(), **SMOLLM2)
    check_memory(needed, needed["total"], "org/base")
    with pytest.raises(CompositionError, match="gradient_checkpointing") as caught:
        check_memory(needed, needed["total"] - 1, "org/base")
    assert caught.value.code == "transfer.memory" and caught.value.facts["free"] == needed["total"] - 1
