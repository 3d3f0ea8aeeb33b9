"""What peft 0.21 does to an adapter's names before it fills a model of transformers 5, on names alone. Torch-free.

transformers 5 renamed modules (the text model of vision-language models) and fused experts, and peft carries the names
of older adapters over: `convert_peft_adapter_state_dict_for_transformers`. The rules stand in `conversions.json`, which
`composition.running.conversion_tables` writes from the installed releases; a test holds the two against each other.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from composition.formats.peft.names import PREFIX

TABLE = Path(__file__).with_name("conversions.json")
ADAPTER = ".default"
MERGES = "MergeModulelist"
"""How a rule begins that stacks the tensors of all experts."""


@dataclass(slots=True)
class Landing:
    """Where tensors of a file go: the key that peft asks for, and the tensors of each source pattern, in order.

    `rule` is None for a tensor that goes there as it is.
    """

    rule: Mapping[str, Any] | None
    sources: dict[str, list[str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All the file's names that go there."""
        return [name for names in self.sources.values() for name in names]


class Rules:
    """The rules of one base, in peft's order; `prefix` is the base's `base_model_prefix`."""

    def __init__(self, rules: Iterable[Mapping[str, Any]], prefix: str) -> None:
        self._rules = list(rules)
        self._prefix = prefix

    @cached_property
    def _compiled(self) -> list[tuple[Mapping[str, Any], re.Pattern[str]]]:
        return [(rule, re.compile(rule["search"])) for rule in self._rules]

    def land(self, names: Collection[str]) -> tuple[dict[str, Landing], list[str]]:
        """(key → what lands there, names that another tensor's landing pushes out), keys as a file holds them."""
        renames = [entry for entry in self._compiled if entry[0]["kind"] in ("rename", "group", "offset")]
        fusions = [entry for entry in self._compiled if entry[0]["kind"] not in ("rename", "group", "offset")]
        there, awake = set(names), set[int]()
        found: dict[str, Landing] = {}
        lost = []
        for name in sorted((name for name in names if ".lora_" in name), key=natural):
            key, rule, source = name, None, name
            for other, search in renames:
                key, _ = _apply(other, search, key, awake)
            for other, search in fusions:
                key, matched = _apply(other, search, key, awake)
                if matched is not None:
                    rule, source = other, matched
                    break
            bare = "".join(key.rsplit(ADAPTER, 1))
            if key not in there and name.endswith(bare):
                key, rule, source = self._with_prefix(name, there), None, name
            landing = found.setdefault(key, Landing(rule))
            if landing.rule is None and landing.sources:
                lost.append(name)
                continue
            landing.sources.setdefault(source, []).append(name)
        return {_serialised(key): landing for key, landing in found.items()}, lost

    def _with_prefix(self, name: str, there: set[str]) -> str:
        shorter = re.sub(f"^{self._prefix}.", "", name, count=1)
        if name.startswith(self._prefix) and shorter in there:
            return shorter
        return f"{self._prefix}.{name}" if f"{self._prefix}.{name}" in there else name


def _apply(rule: Mapping[str, Any], search: re.Pattern[str], name: str, awake: set[int]) -> tuple[str, str | None]:
    """(new name, the source pattern that matched or None): `rename_source_key` of transformers' WeightTransform."""
    before, rest = "", name
    if rule["scope"] is not None:
        scope = f"{rule['scope']}." if rule["scope"] else ""
        prefix = f"{rule['prefix']}." if rule["prefix"] else ""
        if name.startswith(prefix + scope):
            before = prefix + scope
        elif name.startswith(scope):
            before = scope
        else:
            return name, None
        rest = name.removeprefix(before)
    match = search.search(rest)
    if match is None:
        return name, None
    group = next(key for key, value in match.groupdict().items() if value is not None)
    place, inner = int(group[1:]), search.groupindex[group]
    if rule["kind"] == "group":
        if place == 0:
            awake.add(id(rule))
        elif id(rule) not in awake:
            return name, None
        new = re.sub(r"\\(\d+)", lambda found: match.group(inner + int(found.group(1))), rule["targets"][place])
    else:
        new = rule["targets"][0]
        if r"\1" in new:
            text = match.group(inner + 1)
            new = new.replace(r"\1", str(int(text) + rule["offset"]) if rule["kind"] == "offset" else text)
    return before + rest.replace(match.group(0), new, 1), rule["sources"][place]


def _serialised(key: str) -> str:
    """The key as a file holds it: with the prefix, without the adapter's name."""
    key = key if key.startswith("base_model.") else PREFIX + key
    if key.endswith(ADAPTER):
        return key.removesuffix(ADAPTER)
    owner, _, leaf = key.rpartition(".")
    return f"{owner.removesuffix(ADAPTER)}.{leaf}" if owner.endswith(ADAPTER) else key


def natural(name: str) -> list[tuple[Any, ...]]:
    """The order in which experts are stacked: numbers by their value (`dot_natural_key` of transformers)."""
    parts: list[tuple[Any, ...]] = []
    for part in name.split("."):
        text = part.rstrip("0123456789")
        if part.isdigit():
            parts.append((0, int(part)))
        else:
            parts.append((1, text, int(part[len(text) :])) if text != part else (1, text))
    return parts


def rules_for(model_type: str | None, architecture: str | None) -> list[Mapping[str, Any]] | None:
    """The table's rules for a base; None where peft converts nothing for its model type."""
    classes = _table()["types"].get(model_type)
    if classes is None:
        return None
    return [_table()["rules"][place] for place in classes.get(architecture, classes[""])]


def experts_for(model_type: str | None) -> str | None:
    """The family whose expert targets peft rewrites: "mixtral", "qwen2_moe", or None."""
    return _table()["experts"].get(model_type)


def expert_targets(family: str) -> Mapping[str, str]:
    """Old module name → parameter it became a part of: {"w1": "gate_up_proj", …}."""
    return _table()["expert_targets"][family]


def fused_targets(family: str) -> Mapping[str, Sequence[str]]:
    """Parameter → the old modules that it fuses: {"gate_up_proj": ["w1", "w3"]}."""
    return _table()["fused"][family]


@cache
def _table() -> dict[str, Any]:
    return json.loads(TABLE.read_text(encoding="utf-8"))
