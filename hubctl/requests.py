"""Names and bodies of requests, as the hub's REST interface wants them."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from hubctl.errors import Refused

# `hub/names.py` has the same; a test holds them equal.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
DATASETS = "datasets/"

# What a job's request means by itself; every other name in it is the role of an input.
NO_ROLES = frozenset(
    "kind recipe inputs datasets base output files keep visibility private public priority idempotency_key".split()
)


def job_body(
    kind: str, inputs: Sequence[str], *, private: bool | None = False, public: bool = False, **given: Any
) -> dict[str, Any]:
    """The JSON that starts or checks a job; what was not said is left out, so that the hub's defaults hold."""
    body: dict[str, Any] = {"kind": kind, "recipe": dict(given.pop("recipe", None) or {}), "inputs": list(inputs)}
    visibility = "private" if private else "public" if public else None
    return body | {key: value for key, value in {**given, "visibility": visibility}.items() if value}


def split(name: str) -> tuple[str, str | None]:
    """`ns/name@ref` → ("ns/name", "ref"), with `datasets/` before where it is; the ref is None where none is given."""
    path, _, ref = name.partition("@")
    prefix = DATASETS if path.startswith(DATASETS) else ""
    namespace, slash, short = path.removeprefix(prefix).partition("/")
    if not slash or not namespace or not short or "/" in short:
        raise Refused(
            f"{name!r} is not a repository; write namespace/name or namespace/name@v1, with datasets/ before a dataset."
        )
    return f"{prefix}{part(namespace, 'a namespace')}/{part(short, 'a repository')}", ref or None


def part(name: str, what: str = "a namespace") -> str:
    """`name` where the hub could have `what` of this name: such a name stands in an address as it is."""
    if not NAME.fullmatch(name):
        raise Refused(
            f"{name!r} can't name {what}: use 1 to 96 of the letters A-Z and a-z, digits, '.', '_' and '-', and begin "
            "with a letter or digit."
        )
    return name


def ref_part(name: str) -> str:
    """A tag's or branch's name for an address, '/' escaped."""
    if not REF.fullmatch(name):
        raise Refused(
            f"{name!r} can't name a tag or branch: use 1 to 200 of the letters A-Z and a-z, digits, '.', '_', '-' and "
            "'/', and begin with a letter or digit."
        )
    return quote(name, safe="")


def version_path(name: str, of: str = "versions") -> str:
    """The address of `ns/name[@ref]`, the latest without a ref; `of` is versions or files."""
    path, ref = split(name)
    return f"/repositories/{path}/{of}/{ref_part(ref or 'latest')}"


def plain(name: str) -> str:
    """`ns/name` or `datasets/ns/name`, refusing a ref."""
    path, ref = split(name)
    if ref:
        raise Refused(f"{name!r} is one version; give the repository alone: {path}")
    return path


def part_query(expert: str | None, form: str | None, uniform: bool | None = None) -> str:
    """The query that names a form of a version; "" for the version as it is stored."""
    said = None if uniform is None else str(int(uniform))
    asked = {key: value for key, value in (("expert", expert), ("as", form), ("uniform", said)) if value is not None}
    return f"?{urlencode(asked)}" if asked else ""


def storable(value: Any) -> Any:
    """A config with Infinity and NaN as transformers writes them, {"__float__": "Infinity"}: JSON has no such word."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"__float__": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, Mapping):
        return {key: storable(entry) for key, entry in value.items()}
    return [storable(entry) for entry in value] if isinstance(value, list | tuple) else value
