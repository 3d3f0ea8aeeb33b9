"""Seed examples: JSONL rows of a prompt and, ideally, its completion; a transfer invents its data from them.

{"prompt": "True and not False is", "completion": "True"}      completion may be left out
"""

from composition.errors import CompositionError
from composition.formats.strict_json import shorten, strict_loads

MOST_BYTES = 5_000_000
MOST_ROWS = 10_000
COLUMNS = ("prompt", "completion", "choices")


def read_seeds(data: bytes, *, what: str = "seeds.jsonl") -> list[dict]:
    """The rows of a JSONL file, at least one; `what` names it in messages. Empty lines are skipped.

    Raises CompositionError `seeds.no_rows`, `seeds.too_many`, `seeds.row`, or those of `strict_loads`; facts name
    the `line` (from 1).
    """
    if len(data) > MOST_BYTES:
        raise CompositionError(
            "seeds.too_many", f"{what} has {len(data):,} bytes; at most {MOST_BYTES:,} are allowed. Give fewer rows."
        )
    rows = []
    for line, text in enumerate(data.split(b"\n"), 1):
        if text.strip():
            row = strict_loads(text, area="seeds", what=f"{what}, line {line}", line=line)
            rows.append(_checked(row, what, line))
    if not rows:
        raise CompositionError(
            "seeds.no_rows",
            f'{what} holds no rows. Write about five, one object per line: {{"prompt": "…", "completion": "…"}}.',
        )
    if len(rows) > MOST_ROWS:
        raise CompositionError("seeds.too_many", f"{what} has {len(rows):,} rows; give at most {MOST_ROWS:,}.")
    return rows


def seed_facts(rows: list[dict]) -> dict[str, int]:
    """{"rows", "with_completion"}."""
    return {"rows": len(rows), "with_completion": sum("completion" in row for row in rows)}


def _checked(row: object, what: str, line: int) -> dict:
    if not isinstance(row, dict):
        raise _wrong(what, line, f"holds {shorten(row)}", "Write one JSON object per line.")
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        raise _wrong(what, line, f"has the key {shorten(unknown[0])}", "Rows have prompt and completion.")
    prompt, completion = row.get("prompt"), row.get("completion")
    if not isinstance(prompt, str) or not prompt.strip():
        raise _wrong(what, line, f"has the prompt {shorten(prompt)}; expected text that is not empty", "Fill it.")
    if "completion" in row and (not isinstance(completion, str) or not completion.strip()):
        raise _wrong(what, line, f"has the completion {shorten(completion)}", "Write text, or leave it out.")
    return row


def _wrong(what: str, line: int, problem: str, do: str) -> CompositionError:
    return CompositionError("seeds.row", f"{what}, line {line} {problem}. {do}", line=line)
