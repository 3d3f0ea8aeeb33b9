"""Names and bodies of requests, as the hub's REST interface wants them."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from hubctl.errors import Refused

# What a job's request means by itself; every other name in it is the role of an input.
NO_ROLES = frozenset(
    "kind recipe inputs datasets base output files keep visibility private public idempotency_key".split()
)


def job_body(
    kind: str, inputs: Sequence[str], *, private: bool | None = False, public: bool = False, **given: Any
) -> dict[str, Any]:
    """The JSON that starts or checks a job; what was not said is left out, so that the hub's defaults hold."""
    body: dict[str, Any] = {"kind": kind, "recipe": dict(given.pop("recipe", None) or {}), "inputs": list(inputs)}
    visibility = "private" if private else "public" if public else None
    return body | {key: value for key, value in {**given, "visibility": visibility}.items() if value}


def split(name: str) -> tuple[str, str | None]:
    """`ns/name@ref` → ("ns/name", "ref"); the ref is None where none is given."""
    path, _, ref = name.partition("@")
    namespace, slash, short = path.partition("/")
    if not slash or not namespace or not short or "/" in short:
        raise Refused(f"{name!r} is not a repository; write namespace/name or namespace/name@v1.")
    return f"{quote(namespace, safe='')}/{quote(short, safe='')}", ref or None


def version_path(name: str, part: str = "versions") -> str:
    """The path of `ns/name[@ref]`, the latest without a ref; `part` is versions or files."""
    path, ref = split(name)
    return f"/repositories/{path}/{part}/{quote(ref or 'latest', safe='')}"


def plain(name: str) -> str:
    """`ns/name`, refusing a ref."""
    path, ref = split(name)
    if ref:
        raise Refused(f"{name!r} is one version; give the repository alone: {path}")
    return path


def part_query(expert: str | None, form: str | None, uniform: bool | None = None) -> str:
    """The query that names a form of a version; "" for the version as it is stored."""
    said = None if uniform is None else str(int(uniform))
    asked = {key: value for key, value in (("expert", expert), ("as", form), ("uniform", said)) if value is not None}
    return f"?{urlencode(asked)}" if asked else ""
