"""Cross-LoRA (arXiv:2508.05232): the update, projected between the singular subspaces of both bases' weights.

    W_s = U_s Σ_s V_sᵀ,  W_t = U_t Σ_t V_tᵀ,  truncated to the k largest
    P_U = argmin ‖P U_s − U_t‖ = U_t U_sᵀ,    P_V = V_t V_sᵀ               (LoRA-Align; columns are orthonormal)
    ΔW_t = P_U ΔW_s P_Vᵀ:     B' = U_t (U_sᵀ B),    A' = (A V_s) V_tᵀ       (LoRA-Shift, on the factors)

Singular vectors have no sign of their own, and P depends on it. Here a pair (u, v) of the target is turned so that it
agrees with the source's pair where shapes are equal, and so that the largest entry of u is positive elsewhere: a
choice of ours, for the paper's text leaves it open. One pair of weights is in memory at a time. Layers are matched by
name, or by their relative depth where the bases have different numbers of them.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from composition.errors import CompositionError
from composition.progress import Progress, ignore
from composition.recipes import CrossLoraRecipe
from composition.weights import Factors, LoraWeights
from transfer.shortcuts.shortcut import ShortcutResult, converted, moved, only

LAYER = re.compile(r"\.(\d+)\.")


def cross_lora(
    adapters: Sequence[LoraWeights],
    recipe: CrossLoraRecipe,
    *,
    base_name: str,
    source: Path,
    target: Path,
    progress: Progress = ignore,
) -> ShortcutResult:
    """The one adapter of `adapters`, projected; `source` and `target` are the bases' safetensors folders.

    Errors: `transfer.no_module` where the target has none of the adapter's modules, `transfer.weights_missing`,
    `transfer.shapes_differ` where the adapter doesn't fit `source`, `transfer.needs_base`.
    """
    weights = only(adapters, recipe)
    old, new = BaseWeights(source), BaseWeights(target)
    pairs = list(matched(weights, new))
    if not pairs:
        raise CompositionError(
            "transfer.no_module",
            f"{base_name} has none of the modules that the adapter adapts. Use trans-lora, which moves an adapter "
            "between any two bases.",
        )
    modules: dict[str, Factors] = {}
    rows, kept_all, whole_all = {}, 0.0, 0.0
    for number, (module, place) in enumerate(pairs, 1):
        factors = weights[module]
        W_s, W_t = (
            base.weight(name, transposed=weights.fan_in_fan_out) for base, name in ((old, module), (new, place))
        )
        if list(W_s.shape) != [factors.out_features, factors.in_features]:
            raise CompositionError(
                "transfer.shapes_differ",
                f"{module} is {list(W_s.shape)} in the source base and {[factors.out_features, factors.in_features]} "
                "in the adapter: this is not the base it was trained on. Give that base as the source.",
                module=module,
            )
        projected, k = project(factors, W_s, W_t, recipe.subspace)
        before, after = frobenius(factors), frobenius(projected)
        if recipe.keep_norm and after > 0:
            projected = Factors(projected.A, projected.B, projected.scale * before / after)
        modules[place] = converted(projected, place, recipe, weights.module_dtype(module))
        rows[place] = {"from": module, "subspace": k, "norm_before": before, "norm_after": after}
        kept_all, whole_all = kept_all + after**2, whole_all + before**2
        progress(number / len(pairs), f"{number} of {len(pairs)} modules")
    missing = len(weights) - len({module for module, _ in pairs})
    report = {
        "method": recipe.kind,
        "summary": {
            "modules": len(modules),
            "retained": round((kept_all / whole_all) ** 0.5, 4) if whole_all else 0.0,
        },
        "modules": rows,
        "warnings": [
            *([f"{missing} of the adapter's modules have no counterpart and were left out."] if missing else []),
            "Nothing was trained or measured: compare the result with the bare target on real rows.",
        ],
    }
    return ShortcutResult(moved(weights, modules, base_name), report)


def project(factors: Factors, W_s: Tensor, W_t: Tensor, subspace: int) -> tuple[Factors, int]:
    """(the factors on the target's side, how many singular directions were aligned), in float32."""
    k = min(subspace, *W_s.shape, *W_t.shape)
    U_s, V_s = _directions(W_s, k)
    U_t, V_t = _directions(W_t, k)
    U_t, V_t = _turned(U_s, V_s, U_t, V_t)
    B = U_t @ (U_s.mT @ factors.B.float())
    A = (factors.A.float() @ V_s) @ V_t.mT
    return Factors(A, B, factors.scale), k


def frobenius(factors: Factors) -> float:
    """‖ΔW‖ from the r × r Grams."""
    A, B = factors.A.double(), factors.B.double()
    return abs(factors.scale) * float(((A @ A.mT) * (B.mT @ B)).sum().clamp(min=0).sqrt())


def matched(weights: LoraWeights, new: "BaseWeights") -> Iterator[tuple[str, str]]:
    """(module of the adapter, module of the target): by name, or layer by relative depth where depths differ."""
    theirs = new.depth()
    ours = 1 + max((int(found[1]) for m in weights if (found := LAYER.search(m))), default=-1)
    if ours == theirs or not ours or not theirs:
        yield from ((module, module) for module in weights if module in new)
        return
    for layer in range(theirs):
        near = round(layer * (ours - 1) / max(1, theirs - 1))
        for module in weights:
            found = LAYER.search(module)
            if found and int(found[1]) == near:
                place = f"{module[: found.start(1)]}{layer}{module[found.end(1) :]}"
                if place in new:
                    yield module, place


class BaseWeights:
    """The weights of a safetensors folder, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            files = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        else:
            files = {"model.safetensors"}
        self.where: dict[str, Path] = {}
        for name in sorted(files):
            path = folder / Path(name).name
            if not path.is_file():
                raise CompositionError(
                    "transfer.weights_missing",
                    f"The base's folder holds no {path.name}. Cross-LoRA reads both bases' weights from safetensors.",
                )
            with safe_open(path, framework="pt") as source:
                self.where |= dict.fromkeys(source.keys(), path)

    def __contains__(self, module: str) -> bool:
        return self._key(module) is not None

    def depth(self) -> int:
        """How many layers the names count."""
        return 1 + max((int(found[1]) for key in self.where if (found := LAYER.search(key))), default=-1)

    def weight(self, module: str, transposed: bool = False) -> Tensor:
        """[out, in] in float32."""
        key = self._key(module)
        if key is None:
            raise CompositionError(
                "transfer.no_module",
                f"The base has no weight {module}.weight, which the adapter adapts. Give the base it was trained on.",
                module=module,
            )
        with safe_open(self.where[key], framework="pt") as source:
            weight = source.get_tensor(key).float()
        return weight.mT.contiguous() if transposed else weight

    def _key(self, module: str) -> str | None:
        """Files name the weights of the inner model with or without its prefix."""
        head, _, rest = module.partition(".")
        for name in (module, rest, f"model.{module}", f"{head}.{module}"):
            if f"{name}.weight" in self.where:
                return f"{name}.weight"
        return None


def _directions(weight: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(U [out, k], V [in, k]), the largest entry of every u positive."""
    U, _, Vh = torch.linalg.svd(weight, full_matrices=False)
    U, V = U[:, :k], Vh[:k].mT
    largest = U.gather(0, U.abs().argmax(0, keepdim=True)).squeeze(0)
    sign = torch.where(largest < 0, -1.0, 1.0)
    return U * sign, V * sign


def _turned(U_s: Tensor, V_s: Tensor, U_t: Tensor, V_t: Tensor) -> tuple[Tensor, Tensor]:
    """The target's pairs, turned to agree with the source's where shapes are equal."""
    if U_s.shape != U_t.shape or V_s.shape != V_t.shape:
        return U_t, V_t
    agreement = (U_s * U_t).sum(0) + (V_s * V_t).sum(0)
    sign = torch.where(agreement < 0, -1.0, 1.0)
    return U_t * sign, V_t * sign
