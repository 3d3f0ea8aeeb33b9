"""Texts here as the hub takes them: a folder of .txt and .md as rows of a dataset, files as private documents."""

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from hubctl.errors import Refused

PLAIN = (".txt", ".md", ".markdown", ".rst")
DOCUMENTS = (*PLAIN, ".pdf")
LONGEST_ROW = 200_000
MOST_SENT = 3_500_000


def texts_of(source: Path) -> list[Path]:
    """The text files of a folder, by path; or the file itself."""
    return _files(source, PLAIN)


def write_rows(paths: Sequence[Path], out: Path) -> int:
    """Write {"text"} rows of these files, long ones cut at a paragraph; how many."""
    count = 0
    with out.open("w", encoding="utf-8") as lines:
        for path in paths:
            for text in _cut(_text(path)):
                lines.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                count += 1
    if not count:
        raise Refused(f"there is no text in {', '.join(map(str, paths[:3]))}.")
    return count


def documents_of(sources: Sequence[str]) -> list[dict[str, str]]:
    """{"name", "text" or "base64"} of files, and of the files of folders, as a job's `files.context` wants them."""
    paths = [path for source in sources for path in _files(Path(source), DOCUMENTS)]
    sent, total = [], 0
    for path in paths:
        data = path.read_bytes()
        total += len(data)
        if total > MOST_SENT:
            raise Refused(
                f"the texts have more than {MOST_SENT:,} bytes together. Give fewer, or use the page /generate, which "
                "takes larger files."
            )
        sent.append(_document(path, data))
    return sent


def plain_text(sources: Sequence[str]) -> str:
    """The text of files and of the files of folders, with an empty line between."""
    paths = [path for source in sources for path in _files(Path(source), PLAIN)]
    for path in paths:
        if path.suffix.lower() == ".pdf":
            raise Refused(f"{path} is a PDF; a prompt takes plain text. Save its text as UTF-8 and give that.")
    return "\n\n".join(_text(path).strip() for path in paths)


def _document(path: Path, data: bytes) -> dict[str, str]:
    """Plain text is sent as text; anything else as base64, and the hub says what is wrong with it."""
    try:
        if not data.startswith(b"%PDF-") and b"\0" not in data:
            return {"name": path.name, "text": data.decode("utf-8-sig")}
    except UnicodeDecodeError:
        pass
    return {"name": path.name, "base64": base64.b64encode(data).decode()}


def _files(source: Path, endings: Sequence[str]) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise Refused(f"there is no file or folder {str(source)!r} here.")
    found = [path for path in sorted(source.rglob("*")) if path.is_file() and path.suffix.lower() in endings]
    found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(source).parts)]
    if not found:
        raise Refused(f"{str(source)!r} holds no {', '.join(endings)} file.")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8, or leave it out.") from None


def _cut(text: str) -> Iterator[str]:
    """The text in rows the hub takes, cut at the last empty line that fits."""
    while text.strip():
        row = text[:LONGEST_ROW]
        if len(text) > LONGEST_ROW and (end := row.rfind("\n\n")) > LONGEST_ROW // 2:
            row = row[:end]
        if row.strip():
            yield row
        text = text[len(row) :]
