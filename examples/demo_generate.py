"""The demo's last part: a text becomes an adapter in one pass of the base, and says how well it knows the text.

The text is invented, so that the base can't have read it. What it costs (nats a token, by plain PEFT) under the bare
base, under the adapter generated from it, and under one generated from another text, the control.
"""

from pathlib import Path
from typing import Any

from demo_hub import BASE, EXAMPLES, USER, finish, hubctl, job, load_plain, pull, say

GENERATOR = EXAMPLES / "generator"
TEXT = EXAMPLES / "demo_text.txt"
OTHER = EXAMPLES / "adapters" / "orders" / "README.md"


def know_a_text() -> dict:
    """Push the generator, make adapters of both texts; their versions, and what the first text costs under each."""
    generator = f"{USER}/generator"
    hubctl("push", str(GENERATOR), generator, "--kind", "generator", "--base", BASE)
    texts = {"own": TEXT, "other": OTHER}
    made = {
        name: job("generate", "--generator", generator, "--context", str(text), "--to", f"{USER}/text-{name}")
        for name, text in texts.items()
    }
    versions = {name: finish(started)["result"] for name, started in made.items()}
    say(f"generated {versions['own']} from {TEXT.name} by {generator}")
    return {"versions": versions, "nats": costs({name: pull(v, f"text-{name}") for name, v in versions.items()})}


def costs(adapters: dict[str, Path]) -> dict[str, float]:
    """Mean −log p of the text's tokens after the first, nats: under the base and under each adapter's folder."""
    import torch
    from peft import PeftModel

    model, tokenizer = load_plain()
    ids = torch.tensor([tokenizer(TEXT.read_text("utf-8"), add_special_tokens=False)["input_ids"]])

    def cost(adapted: Any) -> float:
        with torch.inference_mode():
            return float(adapted(input_ids=ids, labels=ids).loss)

    found = {"base": cost(model)}
    for name, folder in adapters.items():
        adapted = PeftModel.from_pretrained(model, str(folder)).eval()
        found[name] = cost(adapted)
        model = adapted.unload()
    return found


def shown(known: dict) -> str:
    """Two lines for people."""
    cost = known["nats"]
    own = known["versions"]["own"]
    return (
        f"{TEXT.name}: {cost['base']:.2f} nats a token by the base, {cost['own']:.2f} with the adapter generated from\n"
        f"  it ({own}), {cost['other']:.2f} with one generated from another text."
    )
