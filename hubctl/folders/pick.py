"""What of a folder is pushed: what training and tools leave behind stays here, and so does what the user excludes.

Names go in Unicode's composed form (NFC), whatever form the disk keeps them in. What can't be read or named is found
before anything is sent, all of it at once.
"""

import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hubctl.errors import Refused
from hubctl.folders.rules import left_out

SHOWN = 8


@dataclass(frozen=True, slots=True)
class Picked:
    """`files`: path in the repository → file here. `left_out`: files and folders that stay here by the table."""

    files: dict[str, Path]
    left_out: tuple[str, ...] = ()

    def said(self) -> str:
        """One line on what was left out; "" where that is nothing."""
        if not self.left_out:
            return ""
        more = f" and {len(self.left_out) - SHOWN} more" if len(self.left_out) > SHOWN else ""
        named = ", ".join(self.left_out[:SHOWN])
        inside = any(part.startswith("checkpoint-") for part in self.left_out)
        own = "; a checkpoint is pushed by its own path" if inside else ""
        return f"left out, as training and tools leave it behind: {named}{more} (--all pushes it too{own})"


def pick(
    source: str | Path | Mapping[str, Path],
    *,
    include: Collection[str] = (),
    exclude: Collection[str] = (),
    everything: bool = False,
) -> Picked:
    """The files of a folder, one file, or {path: file} as given.

    Of a folder, `everything` takes also what `rules` leaves out. `include` and `exclude` are globs on paths, of
    which one without a slash is also tried on each part. Refused, with all `problems`, where a file can't be read.
    """
    left: dict[str, None] = {}
    files: dict[str, Path] = {}
    problems: list[dict[str, str]] = []
    of_a_folder = isinstance(source, str | Path) and Path(source).is_dir()
    for path, local in _in_folder(Path(source), everything) if of_a_folder else _given(source):
        path = unicodedata.normalize("NFC", path)
        behind = left_out(path) if of_a_folder and not everything else None
        if matches(path, exclude) or (include and not behind and not matches(path, include)):
            continue
        if behind:
            left[behind[0]] = None
            continue
        if trouble := _trouble(path, local, files):
            problems.append({"path": path, "message": trouble})
            continue
        files[path] = local
    if problems:
        raise Refused(f"{_count(problems)} can't be pushed from here.", code="folder.unusable", problems=problems)
    if not files:
        wanted = f" that matches {', '.join(include)}" if include else ""
        raise Refused(f"{str(source)!r} holds no file to push{wanted}.{_nothing(left)}")
    return Picked(files, tuple(left))


def matches(path: str, globs: Collection[str]) -> bool:
    """Whether one of the globs means this path: all of it, a folder it is in, or without a slash any part of it."""
    return any(_match(path, unicodedata.normalize("NFC", glob)) for glob in globs)


def _match(path: str, glob: str) -> bool:
    whole = glob.removesuffix("/")
    if path == whole or fnmatchcase(path, whole) or fnmatchcase(path, f"{whole}/*"):
        return True
    return "/" not in whole and any(part == whole or fnmatchcase(part, whole) for part in path.split("/"))


def _given(source: str | Path | Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """(path in the repository, file here) of one file, or as given."""
    if isinstance(source, Mapping):
        yield from ((path, Path(local)) for path, local in sorted(source.items()))
    elif Path(source).is_file():
        yield Path(source).name, Path(source)
    else:
        raise Refused(f"there is no folder or file {str(source)!r} here.")


def _in_folder(root: Path, everything: bool) -> Iterator[tuple[str, Path]]:
    """(path in the repository, file here), links followed; a folder to be left out is named once and not looked into.

    A folder that can't be read, a link to nothing and a link back to a folder above are yielded as if they were files.
    """
    unread: list[Path] = []
    for place, folders, names in os.walk(root, followlinks=True, onerror=lambda error: unread.append(error.filename)):
        here, go_on = Path(place), []
        for name in sorted(folders):
            path = (here / name).relative_to(root).as_posix()
            if not everything and (behind := left_out(f"{path}/-")) and behind[0].endswith("/"):
                yield f"{path}/-", here / name
            elif (here / name).resolve() not in (here.resolve(), *here.resolve().parents):
                go_on.append(name)
        folders[:] = go_on
        for name in sorted(names):
            if (here / name).is_file() or (here / name).is_symlink():
                yield (here / name).relative_to(root).as_posix(), here / name
    for path in map(Path, unread):
        yield path.relative_to(root).as_posix() if path != root else ".", path


def _trouble(path: str, local: Path, files: Mapping[str, Path]) -> str:
    """Why this file can't be pushed; "" where it can."""
    if path in files:
        return f"{path}: two files here have this name, in two spellings of the same letters. Rename one."
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"{path.encode('utf-8', 'replace').decode()}: its name is not UTF-8. Rename it."
    try:
        local.open("rb").close()
    except FileNotFoundError:
        return f"{path}: it is a link to a file that is not there."
    except OSError as error:
        return f"{path}: it can't be read ({error.strerror})."
    return ""


def _count(problems: Collection[object]) -> str:
    return "1 file" if len(problems) == 1 else f"{len(problems)} files"


def _nothing(left: Collection[str]) -> str:
    checkpoint = next((path for path in left if path.startswith("checkpoint-")), None)
    own = f", and a checkpoint is pushed by its own path: hubctl push FOLDER/{checkpoint} NAME" if checkpoint else ""
    return f" Left out were {', '.join(list(left)[:SHOWN])}; --all pushes them too{own}" if left else ""
