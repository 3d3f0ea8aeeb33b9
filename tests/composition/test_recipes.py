"""Recipes: torch-free, self-describing, refusing bad values by field and bad inputs by adapter and module."""

import subprocess
import sys

import pytest

from composition.errors import CompositionError, RecipeError
from composition.facts import AdapterFacts, ModuleFacts
from composition.recipes import (
    AverageRecipe,
    CatRecipe,
    EvaluateRecipe,
    LegoRecipe,
    SvdRecipe,
    recipe_fields,
)
from composition.recipes.merge import RankedRecipe
from composition.registry import METHODS, methods_of, recipe_from_dict


def facts(modules: dict[str, tuple[int, int, int]], **more) -> AdapterFacts:
    """AdapterFacts of {name: (r, in, out)}."""
    table = {m: ModuleFacts(r=r, in_features=i, out_features=o, scale=1.0) for m, (r, i, o) in modules.items()}
    return AdapterFacts(peft_type="LORA", modules=table, dtype="F32", parameters=0, bytes=0, target_modules=[], **more)


ONE = ("me/one", facts({"q": (4, 32, 32), "v": (2, 32, 16)}))
TWO = ("me/two", facts({"q": (8, 32, 32)}))


def test_recipes_and_registry_load_no_torch():
    code = "import sys, composition.recipes, composition.registry, composition.formats; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize("kind", METHODS)
def test_every_recipe_describes_itself_and_survives_json(kind):
    recipe = METHODS[kind].recipe()
    assert recipe_from_dict(recipe.to_dict()) == recipe
    for row in recipe_fields(METHODS[kind].recipe):
        assert row["label"]
        assert row["help"]
        assert row["type"] in {"integer", "number", "boolean", "choice", "numbers", "string", "choices"}
        assert not row["required"]


def test_every_merge_is_a_registered_row_and_lego_leads():
    merges = [method.kind for method in methods_of("merge")]
    assert merges[0] == "lego"
    modules = {kind: METHODS[kind].recipe.__module__ for kind in merges}
    assert {kind for kind, module in modules.items() if module.startswith("composition.recipes.merge.")} >= {
        "lego",
        "svd",
        "cat",
        "average",
        "task-arithmetic",
    }
    assert all(METHODS[kind].purpose for kind, module in modules.items() if module.startswith("composition.recipes.m"))
    assert METHODS["lego"].function == "composition.merging.lego:lego"


def test_weights_become_a_tuple_of_floats_and_the_recipe_is_hashable():
    recipe = LegoRecipe(rank=8, weights=[1, 2])
    assert recipe.weights == (1.0, 2.0)
    assert hash(recipe) == hash(LegoRecipe(rank=8, weights=(1.0, 2.0)))
    assert recipe.to_dict()["weights"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rank", 0),
        ("rank", "16"),
        ("rank", True),
        ("rank", 4.0),
        ("profile", "exact"),
        ("seed", -1),
        ("n_init", 0),
        ("weights", "1,2"),
        ("weights", [1, float("nan")]),
        ("weights", [1, float("inf")]),
        ("dtype", "int8"),
        ("r_ref", "median"),
    ],
)
def test_a_bad_value_is_refused_with_its_field(field, value):
    with pytest.raises(RecipeError) as caught:
        recipe_from_dict({"kind": "lego", "rank": 8, field: value})
    assert caught.value.field == field
    assert caught.value.code == "recipe.invalid"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "kind"),
        ({"kind": "magic"}, "kind"),
        ({"kind": "lego", "ranks": 3}, "ranks"),
        ({"kind": "svd", "version": 9}, "version"),
    ],
)
def test_unknown_kinds_fields_and_versions_are_refused(data, field):
    with pytest.raises(RecipeError) as caught:
        recipe_from_dict(data)
    assert caught.value.field == field


@pytest.mark.parametrize("metrics", [[], ["nll", "nll"], ["bleu"], "nll"])
def test_evaluation_metrics_are_a_list_out_of_the_known(metrics):
    with pytest.raises(RecipeError) as caught:
        EvaluateRecipe(metrics=metrics)
    assert caught.value.field == "metrics"


def test_output_ranks_take_the_smaller_of_rank_and_pool():
    assert LegoRecipe(rank=6).output_ranks([ONE, TWO]) == {"q": 6, "v": 2}
    assert SvdRecipe(rank=6).output_ranks([ONE, TWO]) == {"q": 6, "v": 2}
    assert CatRecipe().output_ranks([ONE, TWO]) == {"q": 12, "v": 2}


@pytest.mark.parametrize("recipe", [LegoRecipe(rank=13), SvdRecipe(rank=13)])
def test_a_rank_no_module_reaches_is_refused_with_the_largest(recipe):
    with pytest.raises(RecipeError, match="at most 12") as caught:
        recipe.check([ONE, TWO])
    assert caught.value.field == "rank"


@pytest.mark.parametrize("recipe", [LegoRecipe(rank=12), SvdRecipe(rank=12), CatRecipe()])
def test_unequal_ranks_and_targets_fit_these(recipe):
    recipe.check([ONE, TWO])


@pytest.mark.parametrize("kind", ["lego", "svd"])
def test_one_adapter_alone_is_compression(kind):
    METHODS[kind].recipe(rank=2).check([ONE])


@pytest.mark.parametrize("kind", ["cat", "average"])
def test_one_adapter_alone_is_too_few_elsewhere(kind):
    with pytest.raises(CompositionError, match="at least 2"):
        METHODS[kind].recipe().check([ONE])


def test_rank_wise_average_names_adapters_and_module_of_unequal_ranks():
    with pytest.raises(CompositionError) as caught:
        AverageRecipe().check([ONE, TWO])
    assert caught.value.code == "merge.ranks_differ"
    assert all(word in caught.value.message for word in ("me/one", "me/two", "q has rank 4"))


@pytest.mark.parametrize("kind", ["lego", "svd", "cat", "average"])
def test_every_merge_refuses_other_shapes_and_adapters_that_need_their_base(kind):
    recipe = METHODS[kind].recipe() if kind in ("cat", "average") else METHODS[kind].recipe(rank=4)
    other = ("me/other", facts({"q": (4, 64, 32)}))
    with pytest.raises(CompositionError, match="me/other") as caught:
        recipe.check([ONE, other])
    assert caught.value.facts["module"] == "q"
    need = [{"code": "dora", "reason": "DoRA scales the base weight.", "do": "Convert it first."}]
    with pytest.raises(CompositionError, match=r"me/dora.*DoRA scales.*Convert it") as caught:
        recipe.check([ONE, ("me/dora", facts({"q": (4, 32, 32)}, needs_base=need))])
    assert caught.value.code == "merge.needs_base"


@pytest.mark.parametrize("kind", ["meteora", "smora"])
@pytest.mark.parametrize("code", ["dora", "modules_to_save"])
def test_a_mixture_refuses_what_needs_its_base_and_says_what_to_do(kind, code):
    need = [{"code": code, "reason": "It changes the base.", "do": "Convert it first."}]
    with pytest.raises(CompositionError, match=r"me/odd can't be assembled: It changes.*Convert it") as caught:
        METHODS[kind].recipe().check([TWO, ("me/odd", facts({"q": (4, 32, 32)}, needs_base=need))])
    assert caught.value.code == "assemble.needs_base"


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0)])
def test_weights_must_be_one_an_adapter_and_none_zero(weights):
    with pytest.raises(RecipeError) as caught:
        LegoRecipe(rank=4, weights=weights).check([ONE, TWO])
    assert caught.value.field == "weights"


WITH_LAYOUT = ("lego", "svd", "cat", "average", "generate", "portllm", "cross-lora", "loram", "trans-lora")


@pytest.mark.parametrize("kind", WITH_LAYOUT)
def test_recipes_of_before_there_were_layouts_mean_the_compact_one(kind):
    old = {name: value for name, value in recipe_from_dict({"kind": kind}).to_dict().items() if name != "layout"}
    newest = METHODS[kind].recipe.version
    assert old["version"] == newest >= 2
    stored = recipe_from_dict({**old, "version": 1})
    assert (stored.layout, stored.to_dict()["version"]) == ("compact", newest)
    assert recipe_from_dict(old).layout == recipe_from_dict({"kind": kind}).layout == "auto"
    with pytest.raises(RecipeError, match="auto, compact, uniform"):
        recipe_from_dict({"kind": kind, "layout": "loose"})
    for version in (0, newest + 1, "1", True, None):
        with pytest.raises(RecipeError, match="version"):
            recipe_from_dict({**old, "version": version})


@pytest.mark.parametrize("kind", ["lego", "svd"])
def test_recipes_of_before_ranks_followed_from_the_inputs_mean_rank_16(kind):
    for version in (1, 2):
        assert recipe_from_dict({"kind": kind, "version": version}).rank == 16
    assert recipe_from_dict({"kind": kind}).rank is None


RANKED = [method.kind for method in methods_of("merge") if issubclass(method.recipe, RankedRecipe)]


@pytest.mark.parametrize("kind", [kind for kind in RANKED if METHODS[kind].recipe.settled is RankedRecipe.settled])
def test_a_rank_that_is_left_open_is_the_largest_of_the_adapters_and_fits(kind):
    recipe = recipe_from_dict({"kind": kind})
    recipe.check([ONE, TWO])
    ranks = [module.r for _, one in (ONE, TWO) for module in one.modules.values()]
    settled = recipe.settled([ONE, TWO])
    settled.check([ONE, TWO])
    assert settled.rank == max(ranks)
    assert settled.output_ranks([ONE, TWO]) == recipe.output_ranks([ONE, TWO])
    assert recipe_from_dict(settled.to_dict()) == settled


@pytest.mark.parametrize("kind", [kind for kind in RANKED if METHODS[kind].recipe.settled is not RankedRecipe.settled])
def test_a_rank_that_follows_from_what_the_method_keeps_fits_too(kind):
    settled = recipe_from_dict({"kind": kind}).settled([ONE, TWO])
    settled.check([ONE, TWO])
    assert max(settled.output_ranks([ONE, TWO]).values()) == settled.rank


def test_what_is_no_plain_lora_is_not_laid_out_uniformly():
    for peft_type in ("dora", "ia3"):
        assert recipe_from_dict({"kind": "trans-lora", "peft_type": peft_type}).layout == "auto"
        with pytest.raises(RecipeError, match=peft_type) as refusal:
            recipe_from_dict({"kind": "trans-lora", "peft_type": peft_type, "layout": "uniform"})
        assert refusal.value.field == "layout"


@pytest.mark.parametrize("kind", [method.kind for method in methods_of("merge")])
def test_weights_are_asked_for_where_they_mean_something_and_refused_elsewhere(kind):
    recipe = METHODS[kind].recipe
    weights = [3.0, 0.5] if recipe.min_inputs <= 2 else [3.0] * recipe.min_inputs
    same = [("me/one", TWO[1]), ("me/two", TWO[1])]
    try:
        recipe(weights=weights).check(same)
    except RecipeError as refusal:
        assert refusal.field != "weights" or not recipe.weighted, refusal.message
    else:
        assert recipe.weighted
