"""mergekit's configurations of merges of adapters, where its words mean what a method here means.

mergekit writes each LoRA into its base and merges whole models; a merge of task vectors is then the merge of the ΔW,
which this hub makes without the base. What can't be said of adapters (layers of their own, filters, slices, tokenizers)
is refused by name. Its result is a model of full rank; here it is cut to a rank where the method has one.
"""

from collections.abc import Callable, Mapping
from typing import Any

from composition.registry import METHODS
from hub.services.recipes.given import Given, given_of, number, refused

DTYPES = ("float32", "float16", "bfloat16")
ON_THE_SPHERE = (
    "mergekit turns whole weights, where the base outweighs the updates, so that it comes close to a plain mean of "
    "them; here the updates themselves are turned. For mergekit's numbers take merge_method: linear."
)
FULL_RANK = (
    "mergekit's result has full rank; this one is cut to the adapters' largest rank. Give a higher rank to keep more."
)
FROM_ANY = ("linear", "slerp", "karcher")
"""Methods that take no updates from a base."""
TOLERANCE = 1e-5

Fields = dict[str, Any]


def linear(given: Given) -> Fields:
    """Σ w ΔW / Σ w; the base's own weight counts among the weights."""
    weights, normalize = given.each("weight"), given.flag("normalize", True)
    total = sum(weights)
    if given.base_own is not None:
        total += number("weight", given.base_own.get("weight", given.shared.get("weight"))) or 0.0
    if total == 0:
        raise refused("weight", "the weights add up to zero")
    if not normalize and abs(total - 1) > 1e-6:
        raise refused(
            "normalize",
            f"weights that add up to {total:g} scale the base, which an adapter can't; let them add up to 1",
        )
    return {"weights": [weight / total for weight in weights]}


def summed(given: Given) -> Fields:
    """λ Σ w ΔW, divided by Σ w where it is normalised."""
    weights, scale = given.each("weight"), given.one("lambda", 1.0)
    total = sum(weights) if given.flag("normalize", False) else 1.0
    return {"weights": weights, "scale": scale / (total if abs(total) >= 1e-8 else 1.0)}


def elected(normalize: bool) -> Callable[[Given], Fields]:
    """Trimmed updates whose signs are elected by their weighted sum."""

    def read(given: Given) -> Fields:
        divide = "weights" if given.flag("normalize", normalize) else "nothing"
        return {
            "weights": given.each("weight"),
            "density": given.one("density", 1.0),
            "scale": given.one("lambda", 1.0),
            "signs": "total",
            "weighted_vote": True,
            "divide": divide,
        }

    return read


def unelected(given: Given) -> Fields:
    """Trimmed updates that are added up."""
    return summed(given) | {"density": given.one("density", 1.0)}


def dropped(read: Callable[[Given], Fields]) -> Callable[[Given], Fields]:
    """The same with numbers dropped at random."""

    def more(given: Given) -> Fields:
        given.notes.append("What is dropped at random is drawn by this hub, not as mergekit would draw it.")
        return read(given) | {"rescale": "l1" if given.flag("rescale", True) else "none"}

    return more


def with_also(read: Callable[[Given], Fields], fixed: Fields, **numbers: float) -> Callable[[Given], Fields]:
    """The same with fixed fields, and numbers that mergekit names alike, with its defaults."""
    return lambda given: {**read(given), **fixed, **{name: given.one(name, value) for name, value in numbers.items()}}


def slerp(given: Given) -> Fields:
    """From the first, which is the base model, to the second."""
    given.notes.append(ON_THE_SPHERE)
    return {"t": number("t", given.setting("t"))}


def karcher(given: Given) -> Fields:
    """The mean on the sphere."""
    given.notes.append(ON_THE_SPHERE)
    if given.setting("tol", TOLERANCE) != TOLERANCE:
        raise refused("tol", f"steps shorter than {TOLERANCE:g} end the mean here. Remove it")
    return {"iterations": given.setting("max_iter", 10)}


METHODS_READ: dict[str, tuple[str, Callable[[Given], Fields]]] = {
    "linear": ("cat", linear),
    "task_arithmetic": ("task-arithmetic", summed),
    "ties": ("ties", elected(True)),
    "dare_ties": ("dare-ties", dropped(elected(False))),
    "dare_linear": ("dare-linear", dropped(unelected)),
    "breadcrumbs": ("breadcrumbs", with_also(unelected, {"signs": "none"}, gamma=0.01)),
    "breadcrumbs_ties": ("breadcrumbs", with_also(elected(False), {}, gamma=0.01)),
    "della": ("della", with_also(dropped(elected(True)), {}, epsilon=0.15)),
    "della_linear": ("della", with_also(dropped(unelected), {"signs": "none"}, epsilon=0.15)),
    "slerp": ("slerp", slerp),
    "karcher": ("karcher", karcher),
}
"""mergekit's method → the kind here, and what turns its parameters into fields; the defaults are mergekit's."""


def is_one(data: Mapping[str, Any]) -> bool:
    """Whether this is a configuration of mergekit."""
    return "merge_method" in data


def read(data: Mapping[str, Any]) -> dict[str, Any]:
    """The body for POST /jobs, without an output, and `notes`. Raises Invalid `recipe.mergekit`."""
    given = given_of(data)
    if given.method not in METHODS_READ:
        known = ", ".join(METHODS_READ)
        raise refused("merge_method", f"there is no counterpart to {given.method!r} here; there is one to {known}")
    kind, fields_of = METHODS_READ[given.method]
    if kind not in METHODS:
        raise refused("merge_method", f"this hub has no method {kind}")
    if given.from_adapter and given.method not in FROM_ANY:
        raise refused("base_model", "updates are counted from the bare base here; name it without a LoRA")
    recipe = fields_of(given)
    given.refuse_unused()
    dtype = data.get("out_dtype") or data.get("dtype")
    if dtype is not None:
        if dtype not in DTYPES:
            raise refused("dtype", f"expected one of {', '.join(DTYPES)}, got {dtype!r}")
        recipe["dtype"] = dtype
    if "rank" in METHODS[kind].recipe.__dataclass_fields__:
        given.notes.append(FULL_RANK)
    body = {"kind": kind, "recipe": recipe, "inputs": given.adapters, "base": given.base, "notes": given.notes}
    return {name: value for name, value in body.items() if value is not None}
