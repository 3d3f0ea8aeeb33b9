"""What a transferred version's report page shows beside any other's: verdict, stages, loss."""

from django.http import QueryDict
from django.urls import reverse

from hub import access, queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import Kind, Origin
from hub.queries.verdict import verdict
from hub.web.charts import loss
from hub.web.pages.repository import Heading

STAGES = {
    "synthesis": ("Synthesis", ("tries", "duplicates", "unreadable", "tokens_per_second", "seconds", "stopped")),
    "filter": ("Filter", ("filter", "judged", "kept", "rejected", "acceptance", "seeds_accepted", "seconds")),
    "labelling": ("Labelling", ("answered", "empty", "cut", "tokens_per_second", "seconds")),
    "distillation": (
        "Distillation",
        ("rows", "held_out_rows", "steps", "best_epoch", "stopped_early", "parameters", "tokens_per_second", "seconds"),
    ),
}


def build(viewer: Viewer, page: Heading, form: QueryDict) -> dict:
    """For templates/repository/transfer_report.html; nothing for a version that no transfer made."""
    version = page.version
    if version is None or version.origin != Origin.TRANSFERRED:
        return {}
    report, where = version.report or {}, [page.repository.place, page.repository.name]
    asked = {name: form.get(name, "").strip() for name in ("dataset", "oracle")}
    named = named_arms(viewer, asked)
    rows = queries.companion(viewer, page.repository, "synthetic", f"{version.label}.jsonl")
    return {
        "transferred": True,
        "asked": asked,
        "verdict": verdict(viewer, version, **named),
        "stages": [_stage(key, report[key]) for key in STAGES if isinstance(report.get(key), dict)],
        "class_sizes": (report.get("labelling") or {}).get("class_sizes") or [],
        "loss": loss.curve(report.get("distillation")),
        "judge": (report.get("filter") or {}).get("discriminator") or {},
        "rows": rows,
        "rows_url": rows and reverse("api_companion", args=[*where, "synthetic", rows.name]),
        "datasets": queries.newest_datasets(viewer),
        "files": report.get("files") or [] if page.may_write else [],
    }


def named_arms(viewer: Viewer, asked: dict) -> dict:
    """The dataset and the oracle of a form; names that can't be seen are 404."""
    dataset, oracle = asked.get("dataset"), asked.get("oracle")
    if oracle and "/" not in oracle:
        raise Invalid(f"{oracle!r} is not an adapter; write namespace/name or namespace/name@v1.", field="oracle")
    return {
        "dataset": access.parse_input(viewer, dataset, kind=Kind.DATASET) if dataset else None,
        "oracle": access.parse_input(viewer, oracle, kind=Kind.ADAPTER) if oracle else None,
    }


def _stage(key: str, part: dict) -> dict:
    label, names = STAGES[key]
    return {"label": label, "figures": {name: part[name] for name in names if part.get(name) not in (None, "")}}
