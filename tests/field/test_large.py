"""The largest adapters people have: every expert of a 235B base (94 layers of 128), as transformers 4 names them."""

import json
import math
import subprocess
import sys

import pytest

from composition.formats.peft.names import CONFIG_FILE, WEIGHTS_FILE
from composition.formats.safetensors_header import write_header

LAYERS, EXPERTS, WIDTH, INNER = 94, 128, 64, 32

MEASURE = """
import json, re, sys, time
from composition.base_shapes import BaseShapes
from composition.errors import CompositionError
from composition.formats.validate import local_files, validate_adapter

assert "torch" not in sys.modules
base = BaseShapes(json.load(open(sys.argv[2])), config={"model_type": "qwen3_moe", "architectures": []})
start = time.process_time()
try:
    said = sorted(validate_adapter(local_files(sys.argv[1]), base_shapes=base).modules)
    said = [len(said), said[0]]
except CompositionError as refusal:
    said = [refusal.code, refusal.facts.get("count")]
# Of this program alone: ru_maxrss begins with the memory of the process that started it.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps({"said": said, "seconds": time.process_time() - start, "megabytes": peak}))
"""


def write(folder, wrap=""):
    """72,192 tensors of rank 1 in a sparse file."""
    tensors = {}
    for layer in range(LAYERS):
        for expert in range(EXPERTS):
            name = f"{wrap}base_model.model.model.layers.{layer}.mlp.experts.{expert}"
            for leaf, (rows, columns) in {
                "gate_proj": (INNER, WIDTH),
                "up_proj": (INNER, WIDTH),
                "down_proj": (WIDTH, INNER),
            }.items():
                tensors[f"{name}.{leaf}.lora_A.weight"] = "BF16", (1, columns)
                tensors[f"{name}.{leaf}.lora_B.weight"] = "BF16", (rows, 1)
    header = write_header(tensors, {"format": "pt"})
    with (folder / WEIGHTS_FILE).open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + sum(2 * math.prod(shape) for _, shape in tensors.values()))
    targets = ["gate_proj", "up_proj", "down_proj"]
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": targets, "lora_dropout": 0.0}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    return len(tensors)


def base_shapes():
    found = {"model.embed_tokens": [128, WIDTH], "lm_head": [128, WIDTH]}
    for layer in range(LAYERS):
        start = f"model.layers.{layer}"
        found |= {f"{start}.self_attn.{leaf}_proj": [WIDTH, WIDTH] for leaf in "qkvo"}
        found[f"{start}.mlp.gate"] = [EXPERTS, WIDTH]
        found[f"{start}.mlp.experts.gate_up_proj"] = [EXPERTS, 2 * INNER, WIDTH]
        found[f"{start}.mlp.experts.down_proj"] = [EXPERTS, WIDTH, INNER]
    return found


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        ("", [188, "model.layers.0.mlp.experts"]),
        pytest.param("module.", ["adapter.names", None], marks=pytest.mark.slow),
    ],
)
def test_seventy_two_thousand_tensors_are_checked_in_half_a_minute_and_a_gigabyte(wrap, said, tmp_path):
    folder, shapes = tmp_path / "adapter", tmp_path / "shapes.json"
    folder.mkdir()
    assert write(folder, wrap) == 72_192
    shapes.write_text(json.dumps(base_shapes()))
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, folder, shapes], capture_output=True, text=True, check=True, timeout=300
    )
    measured = json.loads(run.stdout)
    assert measured["said"] == said
    assert measured["seconds"] < 30
    assert measured["megabytes"] < 1024
