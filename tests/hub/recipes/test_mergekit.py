"""mergekit's configurations: what each method's words become, and that what can't be said here is refused by name.

Which fields stand for which words is written down here anew, from mergekit's documentation of its parameters.
"""

import pytest

from composition.registry import METHODS, recipe_from_dict
from hub.access import ANONYMOUS
from hub.errors import Invalid
from hub.services.recipes.reading import read_file

HEAD = """
merge_method: {method}
base_model: org/base
models:
  - model: org/base+demo/a
    parameters: {{weight: 0.6}}
  - model: org/base+demo/b@v2
    parameters: {{weight: 0.2}}
"""
WEIGHTS = [0.6, 0.2]
ELECTED = {"weights": WEIGHTS, "density": 0.3, "scale": 1.0, "signs": "total", "weighted_vote": True}
SUMMED = {"weights": WEIGHTS, "density": 0.3, "scale": 1.0}
READ = {
    "task_arithmetic": ("task-arithmetic", {"weights": WEIGHTS, "scale": 1.0}),
    "ties": ("ties", {**ELECTED, "divide": "weights"}),
    "dare_ties": ("dare-ties", {**ELECTED, "divide": "nothing", "rescale": "l1"}),
    "dare_linear": ("dare-linear", {**SUMMED, "rescale": "l1"}),
    "breadcrumbs": ("breadcrumbs", {**SUMMED, "signs": "none", "gamma": 0.01}),
    "breadcrumbs_ties": ("breadcrumbs", {**ELECTED, "divide": "nothing", "gamma": 0.01}),
    "della": ("della", {**ELECTED, "divide": "weights", "rescale": "l1", "epsilon": 0.15}),
    "della_linear": ("della", {**SUMMED, "signs": "none", "rescale": "l1", "epsilon": 0.15}),
}


def read(text: str) -> dict:
    return read_file(ANONYMOUS, text)


@pytest.mark.parametrize("method", READ)
def test_methods_on_task_vectors(method):
    kind, fields = READ[method]
    if kind not in METHODS:
        pytest.skip(f"this hub has no {kind}")
    density = "" if method == "task_arithmetic" else "parameters: {density: 0.3, int8_mask: true}\n"
    body = read(HEAD.format(method=method) + density)
    assert (body["kind"], body["inputs"], body["base"]) == (kind, ["demo/a", "demo/b@v2"], "org/base")
    assert body["recipe"] == fields
    assert recipe_from_dict({"kind": kind, **body["recipe"]})
    assert any("full rank" in note for note in body["notes"])


def test_lambda_scales_and_normalize_divides():
    body = read(HEAD.format(method="task_arithmetic") + "parameters: {lambda: 0.5, normalize: true}\ndtype: bfloat16\n")
    assert body["recipe"] == {"weights": WEIGHTS, "scale": pytest.approx(0.5 / 0.8), "dtype": "bfloat16"}


def test_linear_is_the_exact_weighted_mean():
    body = read(HEAD.format(method="linear"))
    assert body["kind"] == "cat"
    assert body["recipe"]["weights"] == pytest.approx([0.75, 0.25])


def test_the_base_among_the_models_of_a_linear_merge_weighs_as_well():
    body = read(HEAD.format(method="linear") + "  - model: org/base\n    parameters: {weight: 0.2}\n")
    assert body["inputs"] == ["demo/a", "demo/b@v2"]
    assert body["recipe"]["weights"] == pytest.approx([0.6, 0.2])


def test_a_bare_base_among_the_models_of_task_vectors_is_nothing():
    assert read(HEAD.format(method="task_arithmetic") + "  - model: org/base\n")["inputs"] == ["demo/a", "demo/b@v2"]


@pytest.mark.skipif("slerp" not in METHODS, reason="this hub has no slerp")
def test_slerp_begins_at_the_base_model():
    body = read(
        "merge_method: slerp\nbase_model: org/base+demo/b\nparameters: {t: 0.3}\n"
        "models: [{model: org/base+demo/a}, {model: org/base+demo/b}]"
    )
    assert (body["inputs"], body["recipe"]) == (["demo/b", "demo/a"], {"t": 0.3})
    assert "turns whole weights" in body["notes"][0]


@pytest.mark.skipif("karcher" not in METHODS, reason="this hub has no karcher")
def test_karcher():
    body = read("merge_method: karcher\nparameters: {max_iter: 7}\nmodels: [{model: demo/a}, {model: demo/b}]")
    assert (body["inputs"], body["recipe"]) == (["demo/a", "demo/b"], {"iterations": 7})


def changed(**parts: str) -> str:
    """A configuration of task arithmetic with other lines."""
    lines = {
        "merge_method": "task_arithmetic",
        "base_model": "org/base",
        "models": "[{model: org/base+demo/a, parameters: {weight: 1}}, {model: demo/b, parameters: {weight: 1}}]",
        **parts,
    }
    return "\n".join(f"{name}: {value}" for name, value in lines.items())


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"merge_method": "model_stock"}, "merge_method: there is no counterpart to 'model_stock'"),
        ({"merge_method": "5"}, "no counterpart to '5'"),
        ({"slices": "[]"}, "slices: slices merge layers apart"),
        ({"tokenizer_source": "union"}, "tokenizer_source: an adapter has no tokenizer"),
        ({"chat_template": "auto"}, "chat_template says nothing of an adapter"),
        ({"parameters": "{weight: [0, 1]}", "models": "[{model: demo/a}, {model: demo/b}]"}, "weight changes by layer"),
        ({"parameters": "{lambda: {filter: mlp, value: 1}}"}, "lambda changes by layer"),
        ({"parameters": "{rescale: true}"}, "rescale has no meaning here for task_arithmetic"),
        ({"parameters": "{normalize: maybe}"}, "normalize: expected true or false"),
        ({"parameters": "{lambda: .inf}"}, "lambda: expected a number"),
        ({"parameters": "5"}, "parameters: expected values by name"),
        ({"dtype": "int8"}, "dtype: expected one of float32"),
        ({"models": "[]"}, "models: expected a list"),
        ({"models": "[demo/a]"}, "models: expected {model, parameters}"),
        ({"models": "[{model: ./adapters/a}]"}, "push the adapter to this hub"),
        ({"models": "[{model: org/base+/home/me/a}]"}, "push the adapter to this hub"),
        ({"models": "[{model: org/base}]"}, "no adapter is among them"),
        ({"models": "[{model: org/base+demo/a}, {model: other/base+demo/b}]"}, "two bases"),
        ({"models": "[{model: demo/a}, {model: demo/b}]"}, "weight is missing for demo/a"),
        ({"models": "[{model: demo/a, parameters: {weight: 1, normalize: true}}]"}, "normalize has no meaning here"),
        ({"base_model": "org/base+demo/a"}, "base_model: updates are counted from the bare base"),
        ({"merge_method": "linear", "parameters": "{normalize: false}"}, "weights that add up to 2 scale the base"),
    ],
)
def test_what_cannot_be_said_here_is_refused_by_name(parts, said):
    with pytest.raises(Invalid) as refusal:
        read(changed(**parts))
    assert refusal.value.code == "recipe.mergekit"
    assert said in refusal.value.message
