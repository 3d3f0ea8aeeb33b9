"""The card of a result: README.md with front matter that tools read and the story that people read.

It says what was made of what and how, what the method measured, and how to load it. Nothing in it depends on the
clock, so that the same job makes the same bytes.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from composition.errors import CompositionError
from composition.formats.peft.layouts.choosing import advice_on, served_stored
from composition.formats.peft.layouts.completing import Shapes
from composition.formats.peft.layouts.stored import read_stored
from composition.formats.sources import local_files
from composition.registry import Method
from hub.licences import combined, conflicts
from hub.models import Job, Version
from workers.telling import public_names

# Figures that differ from run to run; the report has them, the card does not.
CLOCKED = {"seconds", "tokens_per_second"}


def merge_card(
    job: Job,
    method: Method,
    parents: Sequence[Version],
    names: Sequence[str],
    report: dict,
    data: Sequence[Version] = (),
) -> str:
    """The Markdown of a merge's card; `names` are the parents' as `public_names` gives them, `data` what it read."""
    intro = [f"One LoRA for `{job.base.name}`, made by {method.label}. {method.summary}", *_data(job, data, report)]
    return _card(job, method, parents, names, report, tag="merge", intro=intro, load=_plainly(job))


def assembly_card(job: Job, method: Method, parents: Sequence[Version], report: dict, *, experts: int) -> str:
    """The Markdown of an assembly's card, with what loads it and who can't."""
    names = public_names(job, parents)
    load = [
        "import sys",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        'sys.path.append("out/")',
        "import lora_moe_peft  # lies in the folder; or: import hubctl.moe",
        "",
        f'base = AutoModelForCausalLM.from_pretrained("{job.base.name}")  # its id, or its folder',
        'model = PeftModel.from_pretrained(base, "out/")',
    ]
    intro = [f"A mixture of {experts} LoRAs for `{job.base.name}`, made by {method.label}. {method.summary}"]
    if job.recipe["train"] == "prototype":
        intro += ["", "> No data was used: the router is each expert's strongest input direction, not trained."]
    intro += ["", "vLLM, llama.cpp and other servers can't route tokens to adapters yet; PEFT and transformers can."]
    return _card(
        job,
        method,
        parents,
        names,
        report,
        tag="mixture",
        intro=[*intro, "", *_shares(report)],
        load=load,
        of=f"of {experts} adapters",
    )


def transfer_card(job: Job, method: Method, parents: Sequence[Version], names: Sequence[str], report: dict) -> str:
    """The Markdown of a transferred adapter's card: from where to where, and how it was filtered."""
    intro = [f"An adapter for `{job.base.name}`, moved from `{parents[0].base.name}` by {method.label}.", ""]
    if chosen := job.recipe.get("filter"):
        filtered = "kept as they came" if chosen == "none" else f"filtered by {chosen}"
        intro.append(
            f"It learnt the old adapter's answers to invented inputs, {filtered}; the rows stay with its owner."
        )
    else:
        intro.append(f"{method.summary} Measure it against the bare target before you rely on it.")
    return _card(
        job, method, parents, names, report, tag="transfer", intro=intro, load=_plainly(job), of=f"to {job.base}"
    )


def _plainly(job: Job) -> list[str]:
    """What loads a plain adapter."""
    return [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f'base = AutoModelForCausalLM.from_pretrained("{job.base.name}")  # its id, or its folder',
        'model = PeftModel.from_pretrained(base, "out/")',
    ]


def _card(
    job: Job,
    method: Method,
    parents: Sequence[Version],
    names: Sequence[str],
    report: dict,
    *,
    tag: str,
    intro: Sequence[str],
    load: Sequence[str],
    of: str = "",
) -> str:
    licence, licence_name = combined([parent.repository.license for parent in parents])
    front = {
        "base_model": job.base.name,
        "library_name": "peft",
        **({"license": licence} if licence else {}),
        **({"license_name": licence_name} if licence_name else {}),
        "tags": ["lora", tag, method.kind],
        "parents": list(names),
        "recipe": job.recipe,
    }
    title = f"{job.output_path.partition('/')[2]}: {method.label} {of or f'of {len(parents)} adapters'}"
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {title}",
        "",
        *intro,
        "",
        "## Parents",
        "",
        "| adapter | rank | licence |",
        "|---|---|---|",
        *(
            f"| `{name}` | {_ranks(parent)} | {parent.repository.license or 'not stated'} |"
            for name, parent in zip(names, parents, strict=True)
        ),
        "",
        *_licence_notes(parents, names),
        "## Recipe",
        "",
        "```json",
        json.dumps(job.recipe, indent=2, sort_keys=True),
        "```",
        "",
        *([f"Method: {method.paper}", ""] if method.paper else []),
        *_figures(report),
        "## Load it",
        "",
        "```python",
        *load,
        "```",
        "",
        f"after `hubctl pull {job.output_path} -o out/`.",
        "",
    ]
    return "\n".join(lines)


def servers_section(folder: Path, base_shapes: Shapes | None, output: str) -> str:
    """The card's lines on which servers read the adapter in `folder` right; "" for what is no plain LoRA."""
    try:
        stored = read_stored(local_files(folder))
    except CompositionError:
        return ""
    rows = advice_on(served_stored(stored, base_shapes), base_shapes)
    right = [row.verdict.label for row in rows if row.verdict.answer == "right"]
    lines = ["## Servers", "", f"Read as in PEFT by {', '.join(right)}."] if right else ["## Servers"]
    for row in rows:
        if row.verdict.answer != "right":
            do = f" `hubctl pull {output} --uniform` makes the form that it reads right." if row.uniform else ""
            lines += ["", f"{row.verdict.label}, {row.verdict.answer}: {row.verdict.why}{do}"]
    return "\n".join(["", *lines, ""])


def _data(job: Job, data: Sequence[Version], report: dict) -> list[str]:
    """Which data a merge read, as a table; nothing where it read none. A digest would give private data away."""
    lines = ["", "## Data", "", "| data | rows read | tokens | sha256 |", "|---|---|---|---|"]
    if not data:
        seeds = [f"| {read['name']} | {read['rows']} | {read['tokens']} | – |" for read in report.get("read", ())]
        return [*lines, *seeds] if seeds else []
    for name, version, read in zip(public_names(job, data), data, report["read"], strict=True):
        digest = f"`{version.content_digest}`" if name == str(version) else "–"
        lines.append(f"| `{name}` | {read['rows']} | {read['tokens']} | {digest} |")
    return lines


def _shares(report: dict) -> list[str]:
    """Who serves which task's tokens, as a table; nothing where no data was read."""
    routing = report.get("routing") or {}
    if not routing.get("tasks"):
        return []
    lines = ["Share of each task's tokens by expert, over all modules:", ""]
    lines += ["| task | " + " | ".join(f"`{name}`" for name in routing["experts"]) + " |"]
    lines += ["|---" * (len(routing["experts"]) + 1) + "|"]
    for task, row in routing["tasks"].items():
        lines.append(f"| `{task}` | " + " | ".join(f"{share:.2f}" for share in row["shares"]) + " |")
    return lines


def _ranks(version: Version) -> str:
    low, high = version.facts.get("ranks") or (0, 0)
    return str(high) if low == high else f"{low} to {high}"


def _licence_notes(parents: Sequence[Version], names: Sequence[str]) -> list[str]:
    notes = conflicts([(name, parent.repository.license) for name, parent in zip(names, parents, strict=True)])
    return [*(f"> Licences: {note}" for note in notes), *([""] if notes else [])]


def _figures(report: dict) -> list[str]:
    """The report's summary as a table, its warnings as quotes."""
    summary = {
        key: value
        for key, value in report.get("summary", {}).items()
        if isinstance(value, int | float | str) and key not in CLOCKED
    }
    lines = ["## Figures", "", "| figure | value |", "|---|---|"] if summary else []
    for key, value in summary.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        lines.append(f"| {key.replace('_', ' ')} | {shown} |")
    warnings = [f"> {warning}" for warning in report.get("warnings", [])]
    return [*lines, *([""] if lines else []), *warnings, *([""] if warnings else [])]
