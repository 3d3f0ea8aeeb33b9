"""Reading a base's layer inputs and adding to its layers' outputs, by hooks that are removed afterwards.

The base may be any causal model of transformers whose decoder layers are numbered modules.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from composition.formats.generator.config import GeneratorConfig


@contextmanager
def hearing(model: nn.Module, names: Sequence[str], see: Callable[[int, Tensor], None]) -> Iterator[None]:
    """`see(i, x)` with the input x [N, T, in] of the i-th named module, before it runs."""
    with ExitStack() as stack:
        for number, name in enumerate(names):

            def hook(_module: nn.Module, args: Any, kwargs: Any, number: int = number) -> None:
                see(number, args[0] if args else kwargs["hidden_states"])

            stack.callback(model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


def reading(
    model: nn.Module, config: GeneratorConfig, see: Callable[[int, Tensor], None]
) -> AbstractContextManager[None]:
    """`see(i, h)` with the input h [N, T, D] of the decoder layer of the i-th adapted module, before it runs."""
    return hearing(model, config.layers, see)


@contextmanager
def adapting(model: nn.Module, config: GeneratorConfig, update: Callable[[int, Tensor], Tensor]) -> Iterator[None]:
    """The base with `update(i, x)` [N, T, out] added to what the i-th adapted module makes of x [N, T, in]."""
    with ExitStack() as stack:
        for number, name in enumerate(config.modules):

            def hook(_module: nn.Module, args: Any, output: Tensor, number: int = number) -> Tensor:
                return output + update(number, args[0]).to(output.dtype)

            stack.callback(model.get_submodule(name).register_forward_hook(hook).remove)
        yield
