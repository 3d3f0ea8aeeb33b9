"""An uploaded dataset: JSONL files, one per split, read line by line. All rows of a split are of one kind:

completion   {"prompt": "…", "completion": "…", "choices": ["…", "…"]}   choices are optional, and hold the completion
text         {"text": "…"}                                                  documents that a generator learns from
questions    {"context": "…", "question": "…", "answer": "…"}
"""

from collections.abc import Mapping, Sequence
from typing import BinaryIO

from composition.errors import CompositionError
from composition.facts import DatasetFacts
from composition.formats.content import DOCUMENTS, IMAGES, extension
from composition.formats.gate import check_content
from composition.formats.sources import Files
from composition.formats.strict_json import shorten, strict_loads

MAX_ROW = 1024 * 1024
MAX_CHOICES = 1000
MAX_COLUMNS = 64
ROWS = ".jsonl"
COMPLETION, TEXT, QUESTIONS = "completion", "text", "questions"
REQUIRED = {COMPLETION: ("prompt", "completion"), TEXT: ("text",), QUESTIONS: ("context", "question", "answer")}
BESIDE = (DOCUMENTS | IMAGES) - {".json", ".jsonl", ".csv", ".model"}


def validate_dataset(files: Files, *, base_shapes: Mapping[str, Sequence[int]] | None = None) -> DatasetFacts:
    """Check every row of every file; a split is named by its file's stem. Datasets have no base to fit.

    Raises CompositionError `path.*`, `content.*`, `dataset.*`; facts name `file` and `line` (from 1).
    """
    check_content(files)
    paths: dict[str, str] = {}
    for path in sorted(files):
        if extension(path) != ROWS:
            if extension(path) not in BESIDE | {""}:
                raise CompositionError(
                    "dataset.extra_file",
                    f"A dataset holds .jsonl files and a README.md, and {shorten(path)} is neither. "
                    "Write its rows as JSONL, or leave it out.",
                    file=path,
                )
            continue
        split = path.rpartition("/")[2][: -len(ROWS)]
        if split in paths:
            raise CompositionError(
                "dataset.split_twice",
                f"{shorten(paths[split])} and {shorten(path)} are both the split {shorten(split)}. Rename one.",
                file=path,
                files=[paths[split], path],
            )
        paths[split] = path
    if not paths:
        raise CompositionError(
            "dataset.no_rows",
            "The upload has no .jsonl file. Push for example test.jsonl with one object per line: "
            '{"prompt": "…", "completion": "…"}, or {"text": "…"} to train a generator on.',
            files=sorted(files)[:20],
        )
    splits: dict[str, int] = {}
    kinds: dict[str, str] = {}
    columns: dict[str, None] = {}
    for split, path in paths.items():
        with files[path].open() as stream:
            splits[split], kinds[split] = _check_rows(stream, path, columns)
    return DatasetFacts(
        splits=splits,
        kinds=kinds,
        columns=list(columns),
        has_choices="choices" in columns and COMPLETION in kinds.values(),
        bytes=sum(files[path].size for path in paths.values()),
    )


def is_content(path: str) -> bool:
    """Whether a file holds rows, which make a version."""
    return path.lower().endswith(ROWS)


def _check_rows(stream: BinaryIO, path: str, columns: dict[str, None]) -> tuple[int, str]:
    """The number of rows and their kind; adds their columns to `columns`."""
    rows, line, blank, kind = 0, 0, 0, ""
    while data := stream.readline(MAX_ROW + 2):
        line += 1
        if len(data.rstrip(b"\r\n")) > MAX_ROW:
            raise _row(path, line, "too_long", f"is longer than {MAX_ROW:,} bytes", "Shorten the row, or split it.")
        if not data.strip():
            blank = blank or line
            continue
        if blank:
            raise _row(path, blank, "blank", "is empty", "Remove empty lines between rows.")
        if line == 1 and data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            raise _row(path, line, "json", "begins with a byte order mark", "Save the file as UTF-8 without one.")
        row = strict_loads(data, area="dataset", what=f"{path}, line {line}", file=path, line=line)
        if not isinstance(row, dict):
            raise _row(path, line, "row", f"holds {shorten(row)}", "Write one JSON object per line.")
        if not kind:
            kind = _kind(row)
            columns.update(dict.fromkeys(REQUIRED[kind]))
        _check_row(row, kind, path, line)
        columns.update(dict.fromkeys(row))
        if len(columns) > MAX_COLUMNS:
            raise _row(path, line, "columns", f"brings the columns to over {MAX_COLUMNS}", "Use fewer keys.")
        rows += 1
    if not rows:
        raise CompositionError("dataset.no_rows", f"{path} holds no rows. Fill it, or leave it out.", file=path)
    return rows, kind


def _kind(row: dict) -> str:
    """The kind of the first row of a split; all its rows must be of that kind."""
    if "prompt" in row or "completion" in row:
        return COMPLETION
    if "text" in row:
        return TEXT
    return QUESTIONS if "context" in row or "question" in row else COMPLETION


def _check_row(row: dict, kind: str, path: str, line: int) -> None:
    for column in REQUIRED[kind]:
        value = row.get(column)
        if not isinstance(value, str) or not value:
            given = shorten(value) if column in row else "missing"
            raise _row(path, line, "row", f"has {column} {given}; expected text that is not empty", _do(row, kind))
    if "choices" not in row or kind != COMPLETION:
        return
    choices = row["choices"]
    if (
        not isinstance(choices, list)
        or not 2 <= len(choices) <= MAX_CHOICES
        or not all(isinstance(choice, str) and choice for choice in choices)
        or len(set(choices)) != len(choices)
    ):
        problem = f"has choices {shorten(choices)}; expected 2 to {MAX_CHOICES} different texts"
        raise _row(path, line, "choices", problem, "Correct the list, or leave choices out.")
    if row["completion"] not in choices:
        problem = f"has the completion {shorten(row['completion'])}, which is not among its choices {shorten(choices)}"
        raise _row(path, line, "choices", problem, "Add the completion to the choices, letter for letter.")


def _do(row: dict, kind: str) -> str:
    other = _kind(row)
    return "Fill it." if other == kind else f"A file has rows of one kind: this one began with {kind}. Split it in two."


def _row(path: str, line: int, code: str, problem: str, do: str) -> CompositionError:
    return CompositionError(f"dataset.{code}", f"{path}, line {line} {problem}. {do}", file=path, line=line)
