"""A folder of adapters as repositories of their own: which folder goes where, planned before anything is sent.

A folder with an adapter's or a generator's config goes by itself, at any depth; what lies in a deeper one of these is
not its own. Where the top has no config, a folder right below it that holds data or another tool's weights goes too.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hubctl.errors import Refused
from hubctl.folders.pick import pick
from hubctl.folders.rules import kind_of
from hubctl.requests import NAME, part, plain

CONFIGS = ("adapter_config.json", "generator_config.json")
_FOREIGN = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class OneOfEach:
    """A folder (from the top, "" for the top itself), its repository, and its files by their path in that."""

    folder: str
    repository: str
    files: Mapping[str, Path]

    def place(self, top: str) -> str:
        """The folder as one types it."""
        return f"{top.rstrip('/')}/{self.folder}" if self.folder else top


def plan_each(top: str | Path, prefix: str, *, everything: bool = False) -> tuple[list[OneOfEach], str]:
    """(what goes where, a line on what is left out). `prefix` is `ns/name`, for `ns/name-folder`, or `ns` alone.

    The top's own adapter goes to `ns/name`, or under the top's own name. Refused, with all `problems`, where a folder's
    name can't be a repository's or two would be one, where a file can't be read, and where nothing is found.
    """
    top = Path(top)
    if not top.is_dir():
        raise Refused(f"there is no folder {str(top)!r} here; --each pushes the folders in one.")
    part(prefix) if "/" not in prefix else plain(prefix)
    picked = pick(top, everything=everything)
    folders = _folders(picked.files)
    if not folders:
        raise Refused(
            f"{str(top)!r} holds no folder of an adapter, a generator or a dataset. To push it as one: "
            f"hubctl push {top} NAME, without --each.{' ' + picked.said() if picked.left_out else ''}"
        )
    rows = []
    for folder in folders:
        start = f"{folder}/" if folder else ""
        deeper = tuple(f"{other}/" for other in folders if other.startswith(start) and other != folder)
        inside = {path: file for path, file in picked.files.items() if path.startswith(start)}
        files = {path[len(start) :]: file for path, file in inside.items() if not path.startswith(deeper)}
        rows.append(OneOfEach(folder, _repository(prefix, folder, top), files))
    _check_names(rows)
    return rows, picked.said()


def _folders(paths: Iterable[str]) -> list[str]:
    """The folders that go by themselves, sorted; "" is the top."""
    paths = list(paths)
    own = {path.rpartition("/")[0] for path in paths if path.rpartition("/")[2] in CONFIGS}
    below = {path.partition("/")[0] for path in paths if "/" in path}
    if "" in own:
        return sorted(own)
    for folder in below:
        inside = [path[len(folder) + 1 :] for path in paths if path.startswith(f"{folder}/")]
        if kind_of(inside) and not any(f"{other}/".startswith(f"{folder}/") for other in own):
            own.add(folder)
    return sorted(own)


def _repository(prefix: str, folder: str, top: Path) -> str:
    """`ns/name-a-b` of the folder a/b; what a name can't hold becomes "-"."""
    namespace, slash, name = prefix.partition("/")
    words = folder or ("" if slash else top.resolve().name)
    short = _FOREIGN.sub("-", words.replace("/", "-")).strip("-")
    return f"{namespace}/{'-'.join(word for word in (name, short) if word)}"


def _check_names(rows: list[OneOfEach]) -> None:
    problems: list[dict[str, str]] = []
    taken: dict[str, str] = {}
    for row in rows:
        short, shown = row.repository.partition("/")[2], row.folder or "the folder itself"
        if not NAME.fullmatch(short):
            message = f"{shown}: {short!r} can't name a repository. Rename the folder, or push it by its path."
            problems.append({"path": row.folder, "message": message})
        other = taken.setdefault(row.repository.lower(), shown)
        if other != shown:
            message = (
                f"{shown}: it would be {row.repository}, and so would {other}. Rename one, or push it by its path."
            )
            problems.append({"path": row.folder, "message": message})
    if problems:
        raise Refused("These folders can't be repositories.", code="folder.unusable", problems=problems)
