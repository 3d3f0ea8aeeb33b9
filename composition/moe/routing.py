"""Where tokens go: for each task the share of every expert layer by layer, and the experts of one text's tokens.

A token's expert in a module is a distribution over the n experts: MeteoRA's weights, or for SMoRA the part of the gate
that falls on each expert's ranks. Shares are means of these over real tokens and, in a layer, over its modules.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from composition.moe.batches import Batch, Row, make_corpus
from composition.moe.lora_moe_peft import MoELinear, Routing, SmoraLinear, record_routing
from composition.progress import Progress, ignore
from composition.recipes import AssembleRecipe, MeteoraRecipe
from composition.running.prompting import Prompting, pieces
from composition.running.reading import keeps_logits

LAYER = re.compile(r"\.(\d+)\.")


def expert_weights(layer: MoELinear, chosen: Tensor, weights: Tensor) -> Tensor:
    """[T, n]: how much of each token each expert serves, summing to 1, from what record_routing kept [T, k]."""
    (adapter,) = layer.active_adapters
    blocks = layer.blocks[adapter]
    if isinstance(layer, SmoraLinear):
        chosen = blocks.spread(chosen.device)[0][chosen]
        weights = weights / weights.sum(-1, keepdim=True)
    return weights.new_zeros(len(weights), len(blocks.ranks)).scatter_add(1, chosen, weights)


def layer_of(module: str) -> int:
    """The number of the layer that a module is in; -1 for one outside (an lm_head)."""
    found = LAYER.search(f".{module}.")
    return int(found[1]) if found else -1


def expert_names(model: Any) -> list[str]:
    """The names of the experts of the attached assembly, in the order of the stack."""
    return [expert["name"] for expert in model.peft_config[model.active_adapter].experts]


def forward(model: Any, batch: Batch, keep: int | None = None) -> Tensor:
    """Logits [B, W or the last `keep`, vocabulary] in the model's dtype."""
    some = {} if keep is None or not keeps_logits(model) else {"logits_to_keep": keep}
    return model(
        input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.place, use_cache=False, **some
    ).logits


def routing_report(
    model: Any,
    tokenizer: Any,
    data: Mapping[str, Sequence[Row]],
    *,
    rows: int = 32,
    max_length: int = 512,
    batch_size: int = 8,
    progress: Progress = ignore,
) -> dict[str, Any]:
    """Routing shares of an attached assembly on the first `rows` rows of each task.

    {"experts": [name], "layers": [number], "tasks": {task: {"tokens", "shares": [n], "layers": [[n] a layer]}}}
    """
    names = expert_names(model)
    recipe = _reading(max_length, batch_size)
    tasks: dict[str, Any] = {}
    layers: list[int] = []
    model.eval()
    for done, (task, given) in enumerate(data.items()):
        corpus = make_corpus(tokenizer, {task: list(given)[:rows]}, names, recipe, model)
        sums: dict[str, Tensor] = {}
        tokens = 0
        for batch in corpus.all_batches(0):
            counted, here = _shares(model, batch.to(_device(model)))
            tokens += counted
            sums = {module: here[module] + sums.get(module, 0) for module in here}
        layers = sorted({layer_of(module) for module in sums})
        table = [_mean([sums[m] for m in sums if layer_of(m) == layer], tokens) for layer in layers]
        tasks[task] = {"tokens": tokens, "shares": _mean(list(sums.values()), tokens), "layers": table}
        progress((done + 1) / len(data), f"Routing of {task}")
    return {"experts": names, "layers": layers, "tasks": tasks}


def token_routing(model: Any, tokenizer: Any, text: str, *, answer: str = "", max_length: int = 512) -> dict[str, Any]:
    """Which expert served which token of a prompt (and an answer to it, if one is given).

    {"experts": [name], "layers": [number], "tokens": [{"text", "expert", "shares": [n], "layers": [index a layer]}]};
    `expert` is the index of the largest share over all modules, `layers` the same within each layer.
    """
    prompting = Prompting(tokenizer, getattr(model, "generation_config", None))
    prompt = prompting.prompt(text)[:max_length]
    written = list(tokenizer(answer, add_special_tokens=False)["input_ids"]) if answer else []
    written = written[: max_length - len(prompt)]
    model.eval()
    with torch.no_grad(), record_routing(model) as routing:
        model(input_ids=torch.tensor([[*prompt, *written]], device=_device(model)), use_cache=False)
        return token_table(model, tokenizer, routing, prompt, written)


def token_table(
    model: Any, tokenizer: Any, routing: Routing, prompt: Sequence[int], written: Sequence[int], most: int = 2048
) -> dict[str, Any]:
    """Which experts served the tokens that `routing` has seen: a prompt's and an answer's, in one pass or in several.

    Of more than `most` tokens only the last are listed, and "skipped" says how many were left out; "prompt" counts
    those of the prompt. Special tokens carry "special". The rest as in `token_routing`.
    """
    ids = [*prompt, *written]
    skipped = max(0, len(ids) - most)
    found = {m: expert_weights(routing[m], routing.experts(m), routing.weights(m))[skipped:].cpu() for m in routing}
    layers = sorted({layer_of(module) for module in found})
    by_layer = [torch.stack([found[m] for m in found if layer_of(m) == layer]).mean(0).argmax(-1) for layer in layers]
    shares = torch.stack(list(found.values())).mean(0)  # [T, n]
    best, rows = shares.argmax(-1).tolist(), [[round(share, 4) for share in row] for row in shares.tolist()]
    in_layers = torch.stack(by_layer, 1).tolist()  # [T, layers]
    special = set(getattr(tokenizer, "all_special_ids", ()))
    tokens = [
        {
            "text": text,
            "expert": best[place],
            "shares": rows[place],
            "layers": in_layers[place],
            **({"special": True} if token in special else {}),
        }
        for place, (token, text) in enumerate(zip(ids[skipped:], pieces(tokenizer, ids)[skipped:], strict=True))
    ]
    table = {"experts": expert_names(model), "layers": layers, "tokens": tokens}
    return {**table, "prompt": max(0, len(prompt) - skipped), "skipped": skipped}


def batch_shares(routing: Routing, tokens: Tensor) -> dict[str, Tensor]:
    """{module: [n]}: what each expert served of the real ones of a batch's flattened tokens, summed."""
    return {
        m: expert_weights(routing[m], routing.experts(m)[tokens], routing.weights(m)[tokens]).sum(0) for m in routing
    }


def _shares(model: Any, batch: Batch) -> tuple[int, dict[str, Tensor]]:
    """(real tokens, {module: [n] sums}) of a batch."""
    with torch.no_grad(), record_routing(model) as routing:
        forward(model, batch, 1)
        found = batch_shares(routing, batch.tokens)
    return int(batch.tokens.sum()), {module: share.double().cpu() for module, share in found.items()}


def _mean(sums: list[Tensor], tokens: int) -> list[float]:
    return [round(float(value), 4) for value in torch.stack(sums).mean(0) / tokens]


def _reading(max_length: int, batch_size: int) -> AssembleRecipe:
    """Rows are read as they are: none held out, nothing asked of the data."""
    return MeteoraRecipe(train="prototype", max_length=max_length, batch_size=batch_size, holdout=0.0)


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device
