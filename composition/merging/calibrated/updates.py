"""Adapters at work on a base in memory, straight from their factors: W x + Σ_i c_i s_i B_i (A_i x) at every module."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from composition.errors import CompositionError
from composition.weights import Factors, LoraWeights


def module_of(model: Any, name: str) -> nn.Module:
    """The base's module of this name; CompositionError `merge.not_linear` where it is no linear layer."""
    try:
        module = model.get_submodule(name)
    except AttributeError:
        module = None
    if not isinstance(module, nn.Linear) and type(module).__name__ != "Conv1D":
        given = "no module of the base" if module is None else f"a {type(module).__name__}"
        raise CompositionError(
            "merge.not_linear",
            f"{name} is {given}; methods that read text take adapters of linear layers. Use a method without text.",
            module=name,
        )
    return module


@contextmanager
def added(model: Any, adapter: LoraWeights) -> Iterator[None]:
    """The base with the adapter's update at its modules, for the time of the block; the base's weights stay as is."""
    with ExitStack() as stack:
        for name in adapter:
            module = module_of(model, name)
            parts = [_Part(adapter[name], next(module.parameters()))]
            handle = module.register_forward_hook(_adder(parts))
            stack.callback(handle.remove)
        yield


class _Part:
    """One adapter's factors at a module, on its device and in its dtype; the scale is folded into B."""

    def __init__(self, factors: Factors, like: Tensor) -> None:
        self.A = factors.A.to(like.device, like.dtype)
        self.B = (factors.B.double() * factors.scale).to(like.device, like.dtype)


def _adder(parts: Sequence[_Part]) -> Any:
    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        for part in parts:
            output = output + (inputs[0] @ part.A.mT) @ part.B.mT
        return output

    return add
