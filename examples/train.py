"""Train one example adapter on the CPU: LoRA on all seven projections, loss on the completion alone.

    python examples/train.py triage --rank 4 --seed 11 --steps 60 --out examples/adapters/triage

The opening that all prompts share is read once a step, at batch size one, and its keys and values are laid under the
rows of the batch; gradients flow through them, so the step is the same as the plain one and two to three times
cheaper. Logits are made for the completion's positions alone. One thread and one seed: the same file every time.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from base import BASE_ID, add_base_option, ready
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

from composition.running.base_models import load_base
from composition.running.prompting import Prompted, Prompting, expand, left_pad, positions, shared_prefix

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
HERE = Path(__file__).parent


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Row numbers of each step: epoch after epoch, each in a seeded order of its own."""
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    for _ in range(steps):
        while len(order) < size:
            order += torch.randperm(count, generator=generator).tolist()
        yield order[:size]
        order = order[size:]


def completion_loss(model: torch.nn.Module, prefix: list[int], rows: Sequence[Prompted], pad: int) -> torch.Tensor:
    """Mean cross-entropy (nats) of the completion's tokens; prompts open with `prefix`."""
    cache = None
    if prefix:
        cache = expand(model(torch.tensor([prefix]), use_cache=True, logits_to_keep=1).past_key_values, len(rows))
    ids, mask = left_pad([row.prompt[len(prefix) :] + row.completion for row in rows], pad)
    mask = torch.cat([torch.ones(len(rows), len(prefix), dtype=mask.dtype), mask], dim=1)  # [rows, prefix + width]
    keep = max(len(row.completion) for row in rows)
    logits = model(
        ids,
        attention_mask=mask,
        position_ids=positions(mask)[:, len(prefix) :],
        past_key_values=cache,
        logits_to_keep=keep + 1,
    ).logits[:, :-1]  # [rows, keep, vocabulary]: what stands before each of the last `keep` tokens
    targets = torch.full((len(rows), keep), -100)
    for number, row in enumerate(rows):
        targets[number, keep - len(row.completion) :] = torch.tensor(row.completion)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def save(model: torch.nn.Module, out: Path) -> None:
    """adapter_config.json and fp16 adapter_model.safetensors, naming the base by its id and no folder."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.half().contiguous() for name, value in get_peft_model_state_dict(model).items()}
    save_file(dict(sorted(tensors.items())), out / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config.update(base_model_name_or_path=BASE_ID, inference_mode=True, target_modules=PROJECTIONS)
    plain = {key: getattr(value, "value", value) for key, value in config.items() if key != "auto_mapping"}
    (out / "adapter_config.json").write_text(json.dumps(plain, indent=2, sort_keys=True, default=list) + "\n")


def record(out: Path, seconds: float) -> None:
    """Note how an example adapter was made, and how long it took, in examples/trained.json."""
    if HERE.resolve() not in out.resolve().parents:
        return
    path = HERE / "trained.json"
    trained = json.loads(path.read_text()) if path.exists() else {}
    name = out.resolve().relative_to(HERE.resolve()).as_posix()
    trained[name] = {
        "command": f"python examples/train.py {' '.join(sys.argv[1:])}",
        "seconds": round(seconds),
        "cpu_seconds": round(time.process_time()),
    }
    path.write_text(json.dumps(trained, indent=2, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train an example adapter.")
    parser.add_argument("task")
    add_base_option(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=HERE / "data", help="folder of <task>/train.jsonl")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--alpha", type=float, help="default: twice the rank, with rsLoRA twice its root (scale 2)")
    parser.add_argument("--rslora", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of A's first values and of the order of rows")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="matrix products in bfloat16: faster where it is built in")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    model, tokenizer = load_base(ready(arguments.base))
    alpha = arguments.alpha or 2 * (math.sqrt(arguments.rank) if arguments.rslora else arguments.rank)
    config = LoraConfig(
        r=arguments.rank,
        lora_alpha=int(alpha) if float(alpha).is_integer() else alpha,
        use_rslora=arguments.rslora,
        target_modules=PROJECTIONS,
        task_type="CAUSAL_LM",
    )
    prompting = Prompting(tokenizer, model.generation_config)
    model = get_peft_model(model, config).train()

    lines = (arguments.data / arguments.task / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [prompting.row(json.loads(line)) for line in lines]
    prefix = shared_prefix([row.prompt for row in rows])
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=arguments.lr, weight_decay=0.0)
    warm = max(arguments.steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / arguments.steps)),
    )

    start = time.monotonic()
    for step, picked in enumerate(batches(len(rows), arguments.batch, arguments.steps, arguments.seed), 1):
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
            loss = completion_loss(model, prefix, [rows[number] for number in picked], pad)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 10 == 0 or step == 1:
            print(f"step {step}/{arguments.steps} loss {loss.item():.4f} {time.monotonic() - start:.0f} s", flush=True)
    save(model, arguments.out)
    seconds = time.monotonic() - start
    record(arguments.out, seconds)
    print(f"saved {arguments.out} after {seconds:.0f} s, {time.process_time():.0f} CPU s in all", flush=True)


if __name__ == "__main__":
    main()
