"""Small uploads made from bytes, good ones and the bricks of bad ones: no torch, no peft, no file.

Adapters are made for the base of `PICO_CONFIG`, whose shapes are `SHAPES`.
"""

import io
import json
import pickle
import struct
import tarfile
import zipfile

import numpy as np
from safetensors.numpy import save

PICO_CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
_LAYER = {
    "self_attn.q_proj": [32, 32],
    "self_attn.k_proj": [16, 32],
    "self_attn.v_proj": [16, 32],
    "self_attn.o_proj": [32, 32],
    "mlp.gate_proj": [64, 32],
    "mlp.up_proj": [64, 32],
    "mlp.down_proj": [32, 64],
}
SHAPES = {f"model.layers.{layer}.{name}": shape for layer in range(2) for name, shape in _LAYER.items()} | {
    "model.embed_tokens": [128, 32],
    "lm_head": [128, 32],
}
TARGETS = ("q_proj", "v_proj")
PREFIX = "base_model.model."
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
Q0 = "model.layers.0.self_attn.q_proj"


def config(**fields: object) -> bytes:
    """The config of the good adapter, with `fields` changed; `...` as a value removes the field."""
    changed = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "pico/llama",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": list(TARGETS),
    } | fields
    return json.dumps({key: value for key, value in changed.items() if value is not ...}).encode()


def tensors(targets: tuple[str, ...] = TARGETS, r: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """Float16 factors for every module of the pico base that ends in one of `targets`."""
    random = np.random.default_rng(seed)
    found = {}
    for module, (out_features, in_features) in SHAPES.items():
        if module.rpartition(".")[2] in targets:
            found[f"{PREFIX}{module}.lora_A.weight"] = random.normal(size=(r, in_features)).astype(np.float16)
            found[f"{PREFIX}{module}.lora_B.weight"] = random.normal(size=(out_features, r)).astype(np.float16)
    return found


def adapter(weights: dict[str, np.ndarray] | bytes | None = None, **fields: object) -> dict[str, bytes]:
    """The files of an adapter; the good one where nothing is changed."""
    data = weights if isinstance(weights, bytes) else save(tensors() if weights is None else weights)
    return {CONFIG: config(**fields), WEIGHTS: data}


def changed(**arrays: np.ndarray | None) -> dict[str, np.ndarray]:
    """The good tensors with those of layer 0's q_proj replaced: `lora_A=`, `lora_B=`; None removes one."""
    found = tensors()
    for half, array in arrays.items():
        name = f"{PREFIX}{Q0}.{half}.weight"
        if array is None:
            del found[name]
        else:
            found[name] = array
    return found


def raw(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file by hand: any header (bytes stay as they are), any data, any announced length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: int = 0, end: int = 4, shape: object = (1,), dtype: object = "F32") -> dict[str, object]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def rows(*lines: object) -> bytes:
    """JSONL; bytes stay as they are."""
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


GOOD_ROW = {"prompt": "2 + 2 =", "completion": " 4", "choices": [" 4", " 5"]}


def dataset(**files: bytes) -> dict[str, bytes]:
    """A dataset: `test=rows(…)` is the file test.jsonl."""
    return {f"{name}.jsonl": data for name, data in (files or {"test": rows(GOOD_ROW)}).items()}


def zip_bytes() -> bytes:
    """A small ZIP, which is also what torch.save writes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}, protocol=2))
    return stream.getvalue()


def tar_bytes() -> bytes:
    """A small tar with a name that climbs."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("../../evil.txt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    return stream.getvalue()


def bfloat16_nan() -> bytes:
    """The good adapter's weights in bfloat16, which numpy lacks, with one NaN."""
    header, data = {}, b""
    for name, array in tensors().items():
        bits = (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        if not header:
            bits.flat[5] = 0x7FC0
        header[name] = entry(len(data), len(data) + bits.nbytes, list(array.shape), "BF16")
        data += bits.tobytes()
    return raw(header, data)
