"""A PEFT adapter on a base in memory, all of it or not at all, and the untouched base afterwards.

peft warns of what it can't place and goes on with the base's own answers, or with random factors. Here what its load
returned is looked at: a tensor of the file that reached nothing, a factor that the file lacks, a shape that differs, or
a target without a matrix is `adapter.does_not_load`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from composition.errors import CompositionError
from composition.formats.peft.names import PREFIX, WEIGHTS_FILE

NAME = "default"
# Their layers refer to vectors that the model holds once, which the file has under that one name.
SHARED = frozenset({"VBLORA", "TINYLORA", "UNILORA"})
FACTORS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")


@contextmanager
def adapter_attached(model: Any, folder: str | Path, *, trainable: bool = False) -> Iterator[Any]:
    """`with adapter_attached(base, folder) as model:` the base with a PEFT adapter, and the untouched base afterwards.

    One loaded base serves any number of adapters in turn: what an adapter writes into the base's own weights (biases,
    norms, whole embeddings) is put back. Errors: `base.adapter_missing` without an adapter_model.safetensors (pickled
    weights are never read), `adapter.does_not_load` where peft would not load all of it.
    """
    attached = Attached(model, folder, trainable=trainable)
    try:
        yield attached.model
    finally:
        attached.take_off()


class Attached:
    """An adapter on a base until `take_off`; `model` is what runs. Errors as `adapter_attached`."""

    def __init__(self, base: Any, folder: str | Path, *, trainable: bool = False) -> None:
        from peft import PeftModel

        folder = Path(folder)
        if not (folder / WEIGHTS_FILE).is_file():
            raise CompositionError(
                "base.adapter_missing",
                f"The folder {folder.name!r} holds no {WEIGHTS_FILE}. Give a PEFT adapter's folder.",
            )
        self._base = base
        self._overwritten = _overwritten(base, folder)
        try:
            self.model = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable).eval()
            check_live(self.model, folder)
        except BaseException as error:
            detach(base)
            self._put_back()
            if _is_of_the_adapter(error):
                raise _refusal(_sentence(error), "Push it for the base and the class it was trained on.") from error
            raise

    def take_off(self) -> None:
        """The base as it was before."""
        if not self.model.active_peft_config.is_prompt_learning:
            self.model.unload()
        if hasattr(self._base, "peft_config"):
            del self._base.peft_config
        self._put_back()

    def _put_back(self) -> None:
        own = _own(self._base)
        with torch.no_grad():
            for name, value in self._overwritten.items():
                own[name].copy_(value)


def check_live(attached: Any, folder: Path) -> None:
    """Every tensor of the file has filled something, and nothing of the adapter is left at random.

    The file is loaded once more, for what peft's load returns. Raises `adapter.does_not_load`.
    """
    from peft import set_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
    from peft.utils import load_peft_weights

    config = attached.peft_config[NAME]
    if config.is_prompt_learning:
        return
    weights = load_peft_weights(str(folder), device="cpu")
    result: Any = set_peft_model_state_dict(attached, weights, adapter_name=NAME)
    unexpected = list(result.unexpected_keys)
    if unexpected:
        raise _refusal(
            f"{len(unexpected)} of its {len(weights)} tensors reach nothing in "
            f"{type(attached.get_base_model()).__name__}, such as {unexpected[0]}",
            "Their names are those of another class or release: pushed again, it is checked by its names and the hub "
            "says which to give them.",
            tensors=unexpected[:3],
            count=len(unexpected),
        )
    prefix = PEFT_TYPE_TO_PREFIX_MAPPING.get(config.peft_type, "")
    missing = [key for key in result.missing_keys if prefix in key and f".{NAME}" in key]
    lacking = [] if config.peft_type in SHARED else _not_zero(missing, attached)
    if lacking:
        raise _refusal(
            f"the file lacks {len(lacking)} tensors that its config asks for, such as {lacking[0]}, and peft would "
            "leave them at random",
            "Push all of the weights, or a config that picks no more modules than were trained.",
            tensors=lacking[:3],
            count=len(lacking),
        )


def _not_zero(missing: list[str], attached: Any) -> list[str]:
    """The missing keys that matter: not those of a module whose factors are all missing and multiply to zero."""
    own, asked = _own(attached), set(missing)
    lacking = []
    for key in missing:
        module = key.rpartition(".lora_")[0]
        pair = {half: f"{module}.{half}.{NAME}" for half in FACTORS}
        names = [name for start in pair.values() for name in (start, f"{start}.weight") if name in own]
        whole = len(names) == 2 and asked.issuperset(names)
        if not whole or all(bool(torch.count_nonzero(own[name])) for name in names):
            lacking.append(key)
    return lacking


def detach(model: Any) -> None:
    """Take a half-loaded adapter's layers, copies and config off a base."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    while found := next(
        (
            (name, one)
            for name, one in model.named_modules()
            if isinstance(one, BaseTunerLayer | AuxiliaryTrainingWrapper)
        ),
        None,
    ):
        name, module = found  # the outermost first: wrappers nest, and their layers hold others
        if isinstance(module, BaseTunerLayer):
            plain = module.get_base_layer()
        else:
            plain = module.unload_and_optionally_merge_module(merge=False, safe_merge=False, adapter_names=None)
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, plain)
    if hasattr(model, "peft_config"):
        del model.peft_config


def _own(model: Any) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))


def _overwritten(base: Any, folder: Path) -> Mapping[str, torch.Tensor]:
    """Copies of the base's own weights that the file holds values for."""
    own = _own(base)
    with safe_open(folder / WEIGHTS_FILE, framework="pt") as source:
        names = {key.removeprefix(PREFIX).replace(".base_layer", "") for key in source.keys()}  # noqa: SIM118
    return {name: own[name].detach().clone() for name in names & own.keys()}


def _is_of_the_adapter(error: BaseException) -> bool:
    """Whether peft refused the files; what is left is ours, such as a machine out of memory."""
    if isinstance(error, CompositionError | torch.OutOfMemoryError):
        return False
    if isinstance(error, RuntimeError):
        return "loading state_dict" in str(error) or "shape" in str(error) or "same number" in str(error)
    return isinstance(error, ValueError | KeyError | TypeError | AttributeError)


def _sentence(error: BaseException) -> str:
    """peft's own words: what does not fit, or all of it on one line, without a printed module's inside."""
    if isinstance(error, KeyError):
        return f"the file lacks {error.args[0] if error.args else 'a tensor'}, which its config asks for"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    mismatch = [line for line in lines if "size mismatch" in line]
    told = mismatch[0] if mismatch else " ".join(lines) or type(error).__name__
    return (f"{told[:60]} … {told[-340:]}" if len(told) > 400 else told).rstrip(".: ")


def _refusal(problem: str, do: str, **facts: object) -> CompositionError:
    return CompositionError(
        "adapter.does_not_load", f"peft can't load this adapter on this base: {problem}. {do}", **facts
    )
