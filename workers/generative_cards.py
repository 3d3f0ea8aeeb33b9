"""The cards of generated adapters and of trained generators. As in `cards`, nothing in them depends on the clock."""

import json
from collections.abc import Sequence
from typing import Any

import yaml

from composition.registry import Method
from hub.licences import combined
from hub.models import Job, Version
from workers.telling import public_names


def generated_card(job: Job, method: Method, parents: Sequence[Version], report: dict[str, Any]) -> str:
    """The Markdown of a generated adapter's card: digests of the texts, never a word of them."""
    names = public_names(job, parents)
    summary = report["summary"]
    lines = [
        f"One LoRA for `{job.base.name}`, written by the generator `{names[0]}` from {_texts(summary)} in one pass of "
        f"the base over {'it' if summary['texts'] == 1 else 'them'}. {_sum(report, names)}",
        "",
        "Parts of the text can be read out of the adapter: share it as you would share the text.",
        "",
        "## Texts",
        "",
        "| SHA-256 | tokens | chunks |",
        "|---|---|---|",
        *(f"| `{one['sha256']}` | {one['tokens']:,} | {one['chunks']} |" for one in report["documents"]),
        "",
    ]
    return "\n".join([*_front(job, parents, names, ["lora", "generated"], "peft"), *lines, *_end(job, method)])


def generator_card(job: Job, method: Method, parents: Sequence[Version], config: Any, report: dict[str, Any]) -> str:
    """The Markdown of a trained generator's card: sizes, data, held-out figures, how to use it."""
    names = public_names(job, parents)
    summary = report["summary"]
    lines = [
        f"Turns a text into a LoRA of rank {config.adapter_rank} for `{job.base.name}`, in one pass of the base over "
        f"the text. {config.parameters:,} parameters on {len(config.modules)} layers: `{config.modules[0]}` and its "
        "like.",
        "",
        "| figure | value |",
        "|---|---|",
        *(
            f"| {key.replace('_', ' ')} | {f'{value:.4g}' if isinstance(value, float) else f'{value:,}'} |"
            for key, value in summary.items()
            if isinstance(value, int | float)
        ),
        "",
        "`gap` is measured on documents kept from training: 0 is the adapter of another document, 1 the other "
        "document's adapter with the full text in the prompt.",
        "",
        "## Learnt from",
        "",
        *(f"- `{name}`" for name in names),
        *(f"- {tokens:,} tokens in {steps:,} steps before that" for tokens, steps in config.trainings[1:]),
        "",
        "## Use it",
        "",
        "```sh",
        f"hubctl generate --base {job.base.name} --generator {job.output_path} --context doc.txt --to you/doc --wait",
        "```",
        "",
    ]
    return "\n".join([*_front(job, parents, names, ["generative-adapter"], None), *lines, *_end(job, method)])


def _texts(summary: dict[str, Any]) -> str:
    one = summary["texts"] == 1
    return f"{'a text' if one else str(summary['texts']) + ' texts'} of {summary['tokens']:,} tokens"


def _sum(report: dict[str, Any], names: Sequence[str]) -> str:
    """What it was added to or taken from; "" for a plain one."""
    named = dict(zip(report["states"], names[1:], strict=False))
    said = [f"Added to what `{named['onto']}` knew." if "onto" in named else ""]
    said.append(f"What `{named['without']}` knew was taken away." if "without" in named else "")
    return " ".join(word for word in said if word)


def _front(
    job: Job, parents: Sequence[Version], names: Sequence[str], tags: list[str], library: str | None
) -> list[str]:
    licence, licence_name = combined([parent.repository.license for parent in parents])
    front = {
        "base_model": job.base.name,
        **({"library_name": library} if library else {}),
        **({"license": licence} if licence else {}),
        **({"license_name": licence_name} if licence_name else {}),
        "tags": tags,
        "parents": list(names),
        "recipe": job.recipe,
    }
    title = job.output_path.partition("/")[2]
    return ["---", yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(), "---", "", f"# {title}", ""]


def _end(job: Job, method: Method) -> list[str]:
    recipe = json.dumps(job.recipe, indent=2, sort_keys=True)
    return [
        "## Recipe",
        "",
        "```json",
        recipe,
        "```",
        "",
        f"Method: {method.paper}",
        "",
        f"`hubctl pull {job.output_path} -o out/`",
        "",
    ]
