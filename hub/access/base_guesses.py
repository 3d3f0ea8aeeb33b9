"""Which registered base a name may mean that nobody registered: a revision, a path on some disk, a quantised copy.

A guess is never acted on: it goes into a refusal, with the command that says so.
"""

import re
from dataclasses import dataclass
from shlex import quote

from hub.access.base_advice import how_to_register
from hub.models import BaseModel, fold
from hub.names import BASE_NAME

LEGAL_REVISION = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
MANY = 3
SHORTEST = 3
"""Letters and digits that two names must share before they are taken for one."""

_CACHED = re.compile(r"models--([^/]+?)--([^/]+)")
_ADDRESS = re.compile(r"https?://[^/]+/", re.IGNORECASE)
_COPY = re.compile(
    r"[-_.](unsloth|bnb|gptq|awq|gguf|exl2|hqq|mlx|marlin|quantized|dynamic|fp8|nf4|int[48]|i?q[2-8](_k(_[sml])?|_[01])?"
    r"|[48][-_]?bits?|w[48]a(16|8))$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Guess:
    """`said` is what the name is, as the end of "…names NAME, "; `do` is what to do; `facts` are for programs."""

    said: str
    do: str
    facts: dict[str, object]


def guess(name: str | None, revision: str | None) -> Guess | None:
    """What a base's name may mean that matches none; None where nothing registered looks like it."""
    if not name:
        return None
    if named := list(BaseModel.objects.filter(name__iexact=name).order_by("revision")):
        return _other_revision(named, revision)
    words, stripped = _words(name), None
    found = _alike(words)
    if not found:
        stripped = _without_copy(words)
        found = _alike(stripped) if stripped != words else []
    if not found:
        return None
    likely = found[0]
    if stripped is None:
        return _written_otherwise(name, likely)
    return _copy(name, likely)


def _other_revision(named: list[BaseModel], revision: str | None) -> Guess:
    known, base = [str(base) for base in named], named[0]
    shown = ", ".join(known[:MANY]) + (f" and {len(known) - MANY} more" if len(known) > MANY else "")
    facts: dict[str, object] = {"registered": known, "revision": revision}
    if not revision:
        said = f"of which no revision main is registered here, but {shown}"
        return Guess(said, f"Say which it was trained on: hubctl push FOLDER NAME --base {base}", facts)
    said = f"whose revision {revision!r} is not registered here; {shown} {'is' if len(known) == 1 else 'are'}"
    do = f"If it fits {base} as well, push it for that: hubctl push FOLDER NAME --base {base}"
    if LEGAL_REVISION.fullmatch(revision):
        advice = how_to_register(f"{base.name}@{revision}")
        return Guess(said, f"{do} – or register the revision. {advice}.", facts | advice.facts)
    return Guess(said, do, facts)


def _written_otherwise(name: str, likely: BaseModel) -> Guess:
    base, alias = str(likely), quote(name) if name.isprintable() else "NAME"
    said = "a path or a spelling that is not registered here"
    do = (
        f"If that is {base}, push it as such: hubctl push FOLDER NAME --base {base} – or let the owner of {base} add "
        f"the name to it, for all further pushes: hubctl base alias {base} --add {alias}"
    )
    return Guess(said, do, {"likely": base})


def _copy(name: str, likely: BaseModel) -> Guess:
    base = str(likely)
    said = f"which is not registered here; by its name it is a quantised copy of {base}"
    do = f"To treat it as an adapter of {base}, push it for that: hubctl push FOLDER NAME --base {base}"
    if not BASE_NAME.fullmatch(name):
        return Guess(said, do, {"likely": base})
    register = f"hubctl base add {name} --config config.json --derived-from {base} --relation quantized --wait"
    do += f" – or register the copy ({register}) and merge its adapters with those of {base} by --across-quantisations"
    return Guess(said, do, {"likely": base, "command": register})


def _words(name: str) -> list[str]:
    """The names that a path, an address of a hub or a spelling holds, the most telling first."""
    path = _ADDRESS.sub("", name.strip().replace("\\", "/")).rstrip("/")
    cached = _CACHED.search(path)
    if cached:
        return [f"{cached[1]}/{cached[2]}"]
    parts = [part for part in path.split("/") if part]
    return ["/".join(parts[-2:]), *parts[-1:]]


def _without_copy(words: list[str]) -> list[str]:
    """The words without their endings of quantisation, such as -unsloth-bnb-4bit."""
    bare = []
    for word in words:
        while shorter := _COPY.sub("", word):
            if shorter == word:
                break
            word = shorter
        bare.append(word)
    return bare


def _alike(words: list[str]) -> list[BaseModel]:
    """The bases that one of the words names: whole, or by the model's own name; main and the plainest first."""
    wanted = [key for word in words if len(key := _letters(word)) >= SHORTEST]
    rows = BaseModel.objects.exclude(relation=BaseModel.Relation.QUANTIZED).defer("config", "shapes")
    ranked = []
    for base in rows.order_by("name", "revision"):
        keys = (_letters(base.name), _letters(base.name.partition("/")[2]))
        places = [place for place, word in enumerate(wanted) if word in keys]
        if places:
            ranked.append((places[0], base.revision != "main", len(base.name), base.pk, base))
    return [row[-1] for row in sorted(ranked, key=lambda row: row[:-1])]


def _letters(word: str) -> str:
    return "".join(character for character in fold(word) if character.isalnum())
