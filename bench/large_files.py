"""Large files to push: one of random bytes, several small ones, and an adapter of a base that is made for it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

MB = 1_000_000
WIDTH, RANK = 4096, 128
BASE = "bench/llama"
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_attention_heads": 32,
    "num_hidden_layers": 120,
    "vocab_size": 64,
}


def shapes(megabytes: int) -> dict[str, list[int]]:
    """Weight name → [out, in] of the base that an adapter of about so many megabytes is for."""
    return {name: [WIDTH, WIDTH] for name in modules(megabytes)}


def modules(megabytes: int) -> list[str]:
    """The modules of an adapter of about so many megabytes."""
    count = max(1, megabytes * MB // (2 * WIDTH * RANK * 4))
    return [f"model.layers.{number}.self_attn.q_proj" for number in range(count)]


def plain(megabytes: int) -> Callable[[Path, int], Path]:
    """Writes one safetensors file of random bytes."""

    def write(folder: Path, seed: int) -> Path:
        data = np.random.default_rng(seed).bytes(megabytes * MB)
        head = json.dumps({"x": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
        head = head.ljust(len(head) + -len(head) % 8)
        path = folder / "large.safetensors"
        path.write_bytes(len(head).to_bytes(8, "little") + head + data)
        return path

    return write


def small(megabytes: int) -> Callable[[Path, int], None]:
    """Writes files of 8 MB, which the client sends inside commits."""

    def write(folder: Path, seed: int) -> None:
        random = np.random.default_rng(seed)
        for number in range(max(1, megabytes // 8)):
            (folder / f"{number}.txt").write_bytes(random.integers(32, 126, 8 * MB, dtype=np.uint8).tobytes())

    return write


def adapter(megabytes: int) -> Callable[[Path, int], None]:
    """Writes a LoRA of the base."""

    def write(folder: Path, seed: int) -> None:
        from safetensors.numpy import save_file

        random, tensors = np.random.default_rng(seed), {}
        for name in modules(megabytes):
            for half, shape in (("A", (RANK, WIDTH)), ("B", (WIDTH, RANK))):
                tensors[f"base_model.model.{name}.lora_{half}.weight"] = random.random(shape, dtype=np.float32)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj"]}
        config |= {"base_model_name_or_path": BASE, "task_type": "CAUSAL_LM"}
        (folder / "adapter_config.json").write_text(json.dumps(config))

    return write
