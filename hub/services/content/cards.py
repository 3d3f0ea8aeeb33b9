"""The card, README.md: what its YAML front matter says about licence, tags and description.

The front matter is a stranger's. It is read by a loader that makes plain values only and refuses aliases (a page of
them expands to gigabytes); whatever is not of the expected type is left out, and only broken YAML is refused.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

import yaml

from hub.errors import Invalid
from hub.services.parsing.plain_yaml import PlainLoader

MAX_CARD = 1_000_000
MAX_FRONT_MATTER = 64_000
MAX_TAGS = 20
MAX_WORDS = 60
FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,99}")
TAG = re.compile(r"\w[\w .:+/-]{0,59}")
WORD = re.compile(r"[\w][\w .:+/<>-]{0,198}")
SAME = ("language", "pipeline_tag", "library_name", "task_categories", "task_ids", "size_categories", "multilinguality")
WORDS = {name: name for name in (*SAME, "language_creators", "annotations_creators")} | {"datasets": "dataset"}
"""Key of the front matter → what its words are called."""
NOT_PROSE = ("#", ">", "|", "-", "*", "<", "!", "`", "=", "+", "[", "1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a card says. `body` is the Markdown below the front matter, `summary` its first plain paragraph."""

    body: str = ""
    license: str = ""
    tags: list[str] = field(default_factory=list)
    description: str = ""
    summary: str = ""
    front: dict = field(default_factory=dict)
    """The front matter as JSON has it: dates as text, and nothing that JSON has no word for."""

    @property
    def words(self) -> list[str]:
        """What clients look for beside tags, as `language:en`, `dataset:lab/sums`, `library_name:peft`."""
        found: dict[str, None] = {}
        for key, called in WORDS.items():
            value = self.front.get(key)
            for word in value if isinstance(value, list) else [value]:
                if isinstance(word, str) and WORD.fullmatch(word):
                    found[f"{called}:{word}"] = None
        return list(found)[:MAX_WORDS]


def read_card(data: bytes) -> Card:
    """The card in these bytes; raises Invalid `card.*`: too large, not UTF-8, its front matter not a YAML mapping."""
    if len(data) > MAX_CARD:
        raise Invalid(f"README.md is over {MAX_CARD:,} bytes; keep the card shorter.", code="card.too_large")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(
            f"README.md is not UTF-8 text (byte {error.start}); save it as UTF-8.", code="card.encoding"
        ) from None
    match = FRONT_MATTER.match(text)
    front = _front_matter(match[1]) if match else {}
    body = text[match.end() :] if match else text
    return Card(
        body=body,
        license=_license(front.get("license")),
        tags=_tags(front.get("tags")),
        description=_line(front.get("description")),
        summary=_summary(body),
        front=_plain_values(front),
    )


def _front_matter(text: str) -> dict:
    problem = ""
    if len(text) > MAX_FRONT_MATTER:
        problem = f"is over {MAX_FRONT_MATTER:,} characters"
    else:
        try:
            front = yaml.load(text, Loader=PlainLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f" in line {mark.line + 2}" if mark else ""
            problem = f"can't be read{line}: {getattr(error, 'problem', None) or 'not YAML'}"
        except (RecursionError, ValueError, OverflowError):
            problem = "can't be read: it nests too deeply or holds an impossible number or date"
        else:
            if front is None or isinstance(front, dict):
                return front or {}
            problem = "is not a mapping of keys to values"
    raise Invalid(
        f"The front matter of README.md (between the --- lines) {problem}. Fix it or remove it.",
        code="card.front_matter",
    )


def _plain_values(value: object, depth: int = 0) -> object:
    """YAML's values as JSON has them; None for what it has no word for."""
    if isinstance(value, dict):
        return (
            {_plain_values(str(key)[:200]): _plain_values(one, depth + 1) for key, one in value.items()}
            if depth < 20
            else None
        )
    if isinstance(value, list | tuple | set):
        return [_plain_values(one, depth + 1) for one in value] if depth < 20 else None
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value if isinstance(value, int | float | None) else None


def _license(value: object) -> str:
    if isinstance(value, list) and value:
        value = value[0]
    return value.lower() if isinstance(value, str) and LICENSE.fullmatch(value) else ""


def _tags(value: object) -> list[str]:
    """At most 20 different words, in the card's order; anything that is not a word is left out."""
    words: Iterable = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    kept: dict[str, str] = {}
    for word in words:
        if isinstance(word, str) and TAG.fullmatch(word.strip()):
            kept.setdefault(word.strip().casefold(), word.strip())
    return list(kept.values())[:MAX_TAGS]


def _line(value: object) -> str:
    """A printable line of at most 300 characters."""
    if not isinstance(value, str):
        return ""
    words = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return words if len(words) <= 300 else words[:299] + "…"


def _summary(body: str) -> str:
    fenced = False
    lines: list[str] = []
    for line in body[:20_000].splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif fenced or line.lstrip().startswith(NOT_PROSE) or not line.strip():
            if lines:
                break
        else:
            lines.append(line)
    return _line(_plain(" ".join(lines)))


def _plain(prose: str) -> str:
    """Prose without the marks of inline Markdown: code, bold and italic, links and pictures."""
    prose = re.sub(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,1000}\)", r"\1", prose)
    return re.sub(r"`+|\*\*|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)", "", prose)
