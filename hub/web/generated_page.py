"""What pages show of generation: what a generated adapter was made from, and how a generator was trained."""

import json

from hub import access, generators, queries
from hub.access import Viewer
from hub.models import Kind, Version
from hub.services.companions import CONTEXT, STATE
from hub.services.manifest import GENERATOR_CONFIG
from hub.storage import blobs
from hub.web import loss_chart
from hub.web.repository_page import Heading

MOST_CONFIG = 8 * 1024 * 1024
SHOWN_POINTS = 12
SETTINGS = ("steps", "tokens", "stage", "objective", "learning_rate", "windows", "batch_tokens", "holdout", "seed")


def made_from(viewer: Viewer, page: Heading) -> dict:
    """{"generated": …} for a version that was made from texts, else {}."""
    version = page.version
    report = (version.report or {}) if version else {}
    if version is None or report.get("method") != "generate":
        return {}
    generator = generators.generator_behind(version)
    beside = access.companions(viewer, page.repository)
    texts = list(beside.filter(kind=CONTEXT, name__startswith=f"{version.label}/"))
    return {
        "generated": {
            "documents": report.get("documents") or [],
            "states": report.get("states") or {},
            "tokens": (report.get("summary") or {}).get("tokens"),
            "generator": generator if generator and generators.seen(viewer, [generator]) else None,
            "digest": (report.get("generator") or {}).get("sha256", ""),
            "texts": {row.blob_id: row for row in texts},
            "state": beside.filter(kind=STATE, name=f"{version.label}.safetensors").first(),
        }
    }


def training(viewer: Viewer, page: Heading, entries: list[dict]) -> dict:
    """For templates/repository/generator.html: the record its own config carries, and what it has written."""
    version = page.version
    if page.repository.kind != Kind.GENERATOR or version is None:
        return {}
    record = _record(entries)
    curve = [row for row in record.get("curve") or [] if isinstance(row, dict) and _number(row.get("loss"))]
    recipe = record.get("recipe") if isinstance(record.get("recipe"), dict) else {}
    measured = [row for row in curve if _number(row.get("gap_completion"))]
    settings = {name: record.get(name, recipe.get(name)) for name in SETTINGS}
    return {
        "sizes": version.facts.get("sizes") or {},
        "settings": {name: value for name, value in settings.items() if value not in (None, "")},
        "data": record.get("data") if isinstance(record.get("data"), dict) else {},
        "loss": loss_chart.curve({"curve": [row for row in curve if _number(row.get("step"))]}),
        "measured": measured[:: max(1, len(measured) // SHOWN_POINTS)][-SHOWN_POINTS:] if measured else [],
        "last": measured[-1] if measured else {},
        "snippets": snippets(page.repository.full_name, version),
        "lineage": queries.lineage(viewer, version),
    }


def snippets(name: str, version: Version) -> list[dict[str, str]]:
    """What to paste on a generator's page."""
    base = version.base.name if version.base else "org/base"
    return [
        {
            "label": "Generate",
            "code": f"hubctl generate --base {base} --generator {name}@{version.label} \\\n"
            "  --context doc.txt --to NAMESPACE/doc --wait",
        },
        {
            "label": "Train it further",
            "code": f"hubctl generator train --start {name}@{version.label} \\\n"
            "  --text ./corpus --to NAMESPACE/generator --wait",
        },
        {"label": "hubctl", "code": f"hubctl pull {name}@{version.label} -o generator"},
    ]


def _record(entries: list[dict]) -> dict:
    """The training record in generator_config.json, which a stranger may have written."""
    found = next((row for row in entries if row["path"] == GENERATOR_CONFIG), None)
    if found is None or found["size"] > MOST_CONFIG:
        return {}
    with blobs.open(found["sha256"]) as stream:
        record = json.load(stream).get("training")
    return record if isinstance(record, dict) else {}


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
