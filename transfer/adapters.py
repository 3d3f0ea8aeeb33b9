"""New PEFT adapters on a base: made from a seed, trained in place, saved to the same bytes every time."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from composition.errors import CompositionError
from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.safetensors_writer import safetensors_header, tensor_bytes
from composition.recipes import TransLoraRecipe
from transfer.stages import unchanged

TASK = "CAUSAL_LM"


def targets(names: str) -> list[str] | str:
    """The recipe's field as peft takes it."""
    listed = [name.strip() for name in names.split(",") if name.strip()]
    return "all-linear" if listed == ["all-linear"] else listed


def lora_config(rank: int, alpha: float, modules: str, **more: Any) -> Any:
    """A LoRA without dropout or bias."""
    from peft import LoraConfig

    whole = int(alpha) if float(alpha).is_integer() else alpha
    return LoraConfig(r=rank, lora_alpha=whole, target_modules=targets(modules), task_type=TASK, **more)


def adapter_config(recipe: TransLoraRecipe) -> Any:
    """The PEFT config of the recipe's `peft_type`; ranks and alpha where the type has them."""
    import peft

    modules: dict[str, Any] = {"target_modules": targets(recipe.target_modules), "task_type": TASK}
    match recipe.peft_type:
        case "lora" | "rslora" | "dora":
            more = {"use_rslora": recipe.peft_type == "rslora", "use_dora": recipe.peft_type == "dora"}
            return lora_config(recipe.rank, recipe.alpha, recipe.target_modules, **more)
        case "ia3":
            return peft.IA3Config(**modules, feedforward_modules=[])
        case "vera":
            return peft.VeraConfig(**modules, r=recipe.rank)
        case "loha":
            return peft.LoHaConfig(**modules, r=recipe.rank, alpha=int(recipe.alpha))
        case "oft":
            return peft.OFTConfig(**modules, r=recipe.rank, oft_block_size=0)
    raise CompositionError("recipe.invalid", f"There is no adapter type {recipe.peft_type!r}.", field="peft_type")


@contextmanager
def trainable(model: Any, config: Any, seed: int, *, checkpointing: bool = False) -> Iterator[Any]:
    """The base with a fresh adapter, ready to be trained without dropout; afterwards the base as it was.

    Errors: `transfer.targets` where the base has no such modules, `transfer.memory` where accelerate had to leave a
    part of it on the disk or in the machine's memory: such a base can answer, but gradients do not pass through it.
    """
    from peft import get_peft_model

    if any(parameter.is_meta for parameter in model.parameters()):
        raise CompositionError(
            "transfer.memory",
            "The base does not fit into this worker's GPUs, so part of it was left outside: it can answer, but not be "
            "trained. Use precision=bfloat16 or int8, a smaller base, or a worker with more memory.",
        )
    with unchanged(model), torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, config)
        except (ValueError, KeyError, AttributeError) as error:
            raise CompositionError(
                "transfer.targets",
                f"This adapter can't be put on the base: {str(error).splitlines()[0][:300]} Name modules that the "
                "base has in target_modules, or use all-linear.",
            ) from error
        try:
            adapted.eval()
            if checkpointing:
                model.gradient_checkpointing_enable({"use_reentrant": False})
                _train_without_dropout(adapted)
            yield adapted
        finally:
            if checkpointing:
                model.gradient_checkpointing_disable()
            adapted.unload()
            if hasattr(model, "peft_config"):
                del model.peft_config


def save_adapter(adapted: Any, folder: Path, base_name: str) -> None:
    """adapter_config.json and adapter_model.safetensors; the folder appears whole or not at all."""
    from peft import get_peft_model_state_dict

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tensors = {name: tensor.detach() for name, tensor in sorted(get_peft_model_state_dict(adapted).items())}
    header = safetensors_header({n: (t.dtype, tuple(t.shape)) for n, t in tensors.items()}, {})
    with (part / WEIGHTS_FILE).open("wb") as out:
        out.write(header)
        for name, tensor in tensors.items():
            out.write(tensor_bytes(tensor, tensor.dtype, name))
    config = adapted.peft_config[adapted.active_adapter].to_dict()
    config.update(base_model_name_or_path=base_name or None, inference_mode=True)
    plain = {key: _plain(value) for key, value in config.items() if key != "auto_mapping"}
    (part / CONFIG_FILE).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def _plain(value: Any) -> Any:
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return getattr(value, "value", value)


def _train_without_dropout(model: Any) -> None:
    """Checkpointing works in training mode alone."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.eval()
        if isinstance(getattr(module, "attention_dropout", None), float) and module.attention_dropout:
            raise CompositionError(
                "transfer.dropout",
                "This base uses attention dropout in training, so a resumed run would differ. Turn "
                "gradient_checkpointing off.",
            )
