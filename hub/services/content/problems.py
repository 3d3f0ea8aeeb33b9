"""Refusing all files that can't be stored at once, and not one after the other."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from composition.errors import CompositionError
from hub.errors import Invalid


@contextmanager
def collecting(problems: list[Exception]) -> Iterator[None]:
    """Note what is refused in the block, and go on."""
    try:
        yield
    except (CompositionError, Invalid) as problem:
        problems.append(problem)


def refuse(problems: Sequence[CompositionError | Invalid]) -> None:
    """Raise nothing, the only problem, or the first one with all as its fact `problems` [{code, path, message}].

    A file is named once, by the first problem that it has.
    """
    rows: dict[str, dict[str, object]] = {}
    for problem in problems:
        path = _path(problem)
        rows.setdefault(path or f"{len(rows)}", {"path": path, "code": problem.code, "message": problem.message})
    if not problems:
        return
    first = problems[0]
    if len(rows) == 1:
        raise first
    facts = {**first.facts, "problems": list(rows.values())}
    said = f"{len(rows)} files can't be stored here. The first: {first.message}"
    if isinstance(first, CompositionError):
        raise CompositionError(first.code, said, **facts)
    raise Invalid(said, code=first.code, **facts)


def _path(problem: CompositionError | Invalid) -> str | None:
    """The file it is about; of two that can't be together, the second."""
    found = problem.facts.get("file") or problem.facts.get("path")
    return found or next(reversed(problem.facts.get("files", ())), None)
