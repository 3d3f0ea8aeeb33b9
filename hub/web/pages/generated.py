"""What pages show of generation: what a generated adapter was made from, and how a generator was trained."""

import json

from composition.formats import FORMATS
from composition.recipes.try_out import MOST_CHARACTERS
from hub import access, queries
from hub.access import Viewer
from hub.models import Companion, Version
from hub.queries import generator as generators
from hub.services.content.companions import CONTEXT, STATE
from hub.services.jobs.kinds import kind_of
from hub.services.parsing.documents import BYTES_A_TOKEN
from hub.storage import blobs
from hub.web.charts import loss
from hub.web.pages.repository import Heading

MOST_CONFIG = 8 * 1024 * 1024
SHOWN_POINTS = 12
SETTINGS = (
    "steps",
    "tokens",
    "stage",
    "objective",
    "distillation",
    "learning_rate",
    "windows",
    "batch_tokens",
    "holdout",
    "seed",
)


def kept_texts(viewer: Viewer, version: Version) -> list[Companion]:
    """The texts kept with a version, as far as this viewer may read them."""
    beside = access.companions(viewer, version.repository)
    return list(beside.filter(kind=CONTEXT, name__startswith=f"{version.label}/"))


def is_generated(version: Version) -> bool:
    """Whether it was made from a text, one that may be kept beside it."""
    return CONTEXT in kind_of((version.report or {}).get("method", "")).keeps


def offered(viewer: Viewer, version: Version) -> tuple[list[Companion], str]:
    """(the texts to offer for the prompt, what to say beside the box); none and "" where it wasn't made from a text."""
    if not is_generated(version):
        return [], ""
    rows = kept_texts(viewer, version)
    if not rows:
        return [], "No text is kept that you can read. Paste the text this adapter was made from."
    reads = (version.base.config if version.base else {}).get("max_position_embeddings")
    size = sum(row.blob.size for row in rows)
    if size > MOST_CHARACTERS or (isinstance(reads, int) and size // BYTES_A_TOKEN >= reads):
        most = f"{reads:,} tokens" if isinstance(reads, int) else f"{MOST_CHARACTERS:,} characters"
        return [], f"The kept text has about {size // BYTES_A_TOKEN:,} tokens; the base reads {most}. Paste a part."
    more = " The earlier texts, to which it was added, are not in it." if version.report.get("states") else ""
    return rows, f"The text kept with {version.label}.{more}"


def joined(rows: list[Companion]) -> str:
    """Their text, with an empty line between."""
    texts = []
    for row in rows:
        with blobs.open(row.blob_id) as stream:
            texts.append(stream.read().decode("utf-8", "replace").strip())
    return "\n\n".join(texts)


def made_from(viewer: Viewer, page: Heading) -> dict:
    """{"generated": …} for a version that was made from texts, else {}."""
    version = page.version
    if version is None or not is_generated(version):
        return {}
    report = version.report
    generator = generators.generator_behind(version)
    beside = access.companions(viewer, page.repository)
    return {
        "generated": {
            "documents": report.get("documents") or [],
            "states": report.get("states") or {},
            "tokens": (report.get("summary") or {}).get("tokens"),
            "generator": generator if generator and generators.seen(viewer, [generator]) else None,
            "digest": (report.get("generator") or {}).get("sha256", ""),
            "texts": {row.blob_id: row for row in kept_texts(viewer, version)},
            "state": beside.filter(kind=STATE, name=f"{version.label}.safetensors").first(),
        }
    }


def training(viewer: Viewer, page: Heading, entries: list[dict]) -> dict:
    """For templates/repository/generator.html: the record its own config carries, and what it has written."""
    version = page.version
    if not page.repository.is_generator or version is None:
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
        "loss": loss.curve({"curve": [row for row in curve if _number(row.get("step"))]}),
        "measured": measured[:: max(1, len(measured) // SHOWN_POINTS)][-SHOWN_POINTS:] if measured else [],
        "last": measured[-1] if measured else {},
        "snippets": snippets(page.repository.path, version),
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
    """The training record in a generator's config, which a stranger may have written."""
    config = FORMATS["generator"].config
    found = next((row for row in entries if row["path"] == config), None)
    if found is None or found["size"] > MOST_CONFIG:
        return {}
    with blobs.open(found["sha256"]) as stream:
        record = json.load(stream).get("training")
    return record if isinstance(record, dict) else {}


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
