"""The cost of knowing a text: GenerativeAdapter beside one epoch of LoRA fine-tuning on it, and prompting with it.

    python bench/generate.py [--quick] [--json FILE]

Making: CPU seconds of one thread and the peak of anonymous memory above the loaded base, each case in a process of its
own. Both sides have rank 96 on o_proj of every layer; fine-tuning takes rows of 512 tokens, batch 1, AdamW, the least
that sees the text once. Answering: seconds to the first token of a 16-token question, and for each token after it,
under the adapter, and with the whole text before the question. Weights are random in SmolLM2-135M's shape, float32:
cost does not depend on what they say.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402
from memory import AnonymousPeak  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from composition.generative.encode import adapter, read  # noqa: E402
from composition.generative.generate import adapter_of  # noqa: E402
from composition.generative.hooks import adapting  # noqa: E402
from composition.generative.layer import Generator  # noqa: E402
from composition.generative.train import linear_shapes  # noqa: E402
from composition.recipes import GenerateRecipe, TrainGeneratorRecipe  # noqa: E402

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
VOCABULARY, QUESTION, ANSWER, ROW, WINDOW = 49152, 16, 8, 512, 1024
MODES = ("parallel", "sequential-long")


def smollm2(depth: int) -> LlamaForCausalLM:
    """A model of SmolLM2-135M's shape, random."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=depth,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def generator_for(base: LlamaForCausalLM) -> Generator:
    generator = Generator(TrainGeneratorRecipe().config_for("bench/smollm2", linear_shapes(base))).start(0)
    generator.B.data.normal_(0, 0.01)
    return generator.requires_grad_(False)


def words(count: int) -> list[int]:
    return torch.randint(3, VOCABULARY, (count,), generator=torch.Generator().manual_seed(count)).tolist()


def fine_tune(base: LlamaForCausalLM, ids: list[int]) -> None:
    """One epoch of next-token loss over rows of the text."""
    config = LoraConfig(r=96, lora_alpha=96, target_modules=["o_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base, config).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for first in range(0, len(ids), ROW):
        row = torch.tensor([ids[first : first + ROW]])
        model(input_ids=row, labels=row).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def make(method: str, tokens: int, depth: int) -> dict[str, float]:
    """In this process: the adapter of a text of so many tokens."""
    base, ids = smollm2(depth), words(tokens)
    generator = generator_for(base)
    with AnonymousPeak() as memory:
        start = time.process_time()
        if method == "fine-tune":
            fine_tune(base, ids)
        else:
            adapter_of(generator, read(base, generator, ids, GenerateRecipe(mode=method, window=WINDOW)), base)
        seconds = time.process_time() - start
    return {"seconds": seconds, "mebibytes": memory.mebibytes}


def made(method: str, tokens: int, depth: int) -> dict[str, float]:
    """`make` in a fresh process."""
    print(f"{time.strftime('%H:%M:%S')} {method}, {tokens:,} tokens", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--make", method, str(tokens), str(depth)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def answer(base: LlamaForCausalLM, prompt: list[int]) -> tuple[float, float]:
    """(CPU seconds to the first token, CPU seconds a token after it)."""
    ids = torch.tensor([prompt])
    start = time.thread_time()
    out = base(input_ids=ids, use_cache=True, logits_to_keep=1)
    first = time.thread_time() - start
    start = time.thread_time()
    for _ in range(ANSWER):
        token = out.logits[:, -1:].argmax(-1)
        out = base(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
    return first, (time.thread_time() - start) / ANSWER


def least(run: Callable[[], tuple[float, float]], rounds: int) -> tuple[float, float]:
    found = [run() for _ in range(rounds)]
    return min(f for f, _ in found), min(s for _, s in found)


def row(case: str, peer: str, ours: float, theirs: float, unit: str) -> dict[str, Any]:
    return {"case": case, "peer": peer, "ours": ours, "theirs": theirs, "unit": unit, "ratio": theirs / ours}


def making_rows(lengths: list[int], depth: int) -> list[dict[str, Any]]:
    rows, first, chunked = [], {}, {}
    for tokens in lengths:
        theirs = made("fine-tune", tokens, depth)
        for mode in MODES:
            ours = made(mode, tokens, depth)
            first.setdefault(mode, (tokens, ours))
            case = f"make from {tokens:,} tokens, {mode}"
            rows.append(row(case, "LoRA, one epoch", ours["seconds"], theirs["seconds"], "CPU s"))
            rows.append(row(case, "LoRA, one epoch", ours["mebibytes"], theirs["mebibytes"], "MiB anonymous"))
            fewest, start = first[mode]
            if tokens > fewest:
                linear = 1.15 * start["seconds"] * tokens / fewest
                rows.append(row(case, f"1.15 × linear from {fewest:,}", ours["seconds"], linear, "CPU s"))
            if tokens > WINDOW:  # From the second chunk on a chunk may be read under an adapter.
                fewest, start = chunked.setdefault(mode, (tokens, ours))
                if tokens > fewest:
                    constant = 1.25 * start["mebibytes"]
                    rows.append(row(case, f"1.25 × memory at {fewest:,}", ours["mebibytes"], constant, "MiB anonymous"))
    return rows


@torch.no_grad()
def answering_rows(lengths: list[int], depth: int, rounds: int) -> list[dict[str, Any]]:
    """The adapter as PEFT runs it, unmerged."""
    base = smollm2(depth)
    generator = generator_for(base)
    question = words(QUESTION)
    state = read(base, generator, words(256), GenerateRecipe()).S.unsqueeze(0)
    with adapting(base, generator.config, adapter(generator, state)):
        hooked = least(lambda: answer(base, question), rounds)
    config = LoraConfig(r=96, lora_alpha=96, target_modules=["o_proj"], init_lora_weights=False)
    model = get_peft_model(smollm2(depth), config).eval()
    ours, bare = least(lambda: answer(model, question), rounds), least(lambda: answer(base, question), rounds)
    rows = []
    for number, what in enumerate(("first token", "each token after")):
        case = f"answer under an adapter, {what}"
        rows.append(row(case, "1.1 × the bare base", ours[number], 1.1 * bare[number], "CPU s"))
        rows.append(row(f"{case}, try-it hooks", "1.1 × the bare base", hooked[number], 1.1 * bare[number], "CPU s"))
    for tokens in lengths:
        theirs = answer(base, words(tokens) + question)
        for number, what in enumerate(("first token", "each token after")):
            case = f"answer about {tokens:,} tokens, {what}"
            rows.append(row(case, "full text in the prompt", ours[number], theirs[number], "CPU s"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute: 2 layers, shorter texts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--longest", type=int, default=32_768, help="leave out longer texts")
    parser.add_argument("--make", nargs=3, metavar=("METHOD", "TOKENS", "LAYERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        print(json.dumps(make(arguments.make[0], int(arguments.make[1]), int(arguments.make[2]))))
        return
    depth, rounds = (2, 3) if arguments.quick else (30, 5)
    lengths = [n for n in ([1024, 2048, 4096] if arguments.quick else [1024, 8192, 32_768]) if n <= arguments.longest]
    prompts = [n for n in ([1024] if arguments.quick else [1024, 2048, 4096, 8192 - 2 * QUESTION]) if n <= 8192]
    rows = making_rows(lengths, depth) + answering_rows(prompts, depth, rounds)
    width, peers = (max(len(r[key]) for r in rows) for key in ("case", "peer"))
    print(f"{'case':{width}}  {'peer':{peers}} {'ours':>9} {'theirs':>9} {'ratio':>8}")
    for r in rows:
        figures = f"{r['ours']:9.4g} {r['theirs']:9.4g} {r['ratio']:7.2f}×"
        print(f"{r['case']:{width}}  {r['peer']:{peers}} {figures}  {r['unit']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
