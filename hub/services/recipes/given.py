"""What a configuration of mergekit says, before it is asked what its method is called here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from hub.errors import Invalid

CODE = "recipe.mergekit"
TOP = ("merge_method", "models", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source", "name")
IGNORED = ("int8_mask",)
"""Words about how mergekit computes, which change no result here."""


@dataclass(slots=True)
class Given:
    """What a configuration says: adapters in their order, the weight of the bare base among the models, parameters."""

    method: str
    adapters: list[str] = field(default_factory=list)
    own: list[dict[str, Any]] = field(default_factory=list)
    base: str | None = None
    base_own: dict[str, Any] | None = None
    from_adapter: str | None = None
    """The LoRA that `base_model` names, so that updates are counted from there."""
    shared: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    settings: set[str] = field(default_factory=set)

    def each(self, name: str, default: float | None = None) -> list[float]:
        """One number for each adapter: its own, else the shared one; Invalid where one has none and it is needed."""
        self.used.add(name)
        found = [number(name, own.get(name, self.shared.get(name, default))) for own in self.own]
        if None in found:
            raise refused(name, f"{name} is missing for {self.adapters[found.index(None)]}")
        return found

    def one(self, name: str, default: float) -> float:
        """The number, which has to be one for all adapters."""
        found = set(self.each(name, default))
        if len(found) > 1:
            raise refused(name, f"{name} differs between the models, and the method here has one for all")
        return found.pop()

    def flag(self, name: str, default: bool) -> bool:
        """True or false, for all."""
        value = self.setting(name, default)
        if not isinstance(value, bool):
            raise refused(name, f"{name}: expected true or false, got {value!r}")
        return value

    def setting(self, name: str, default: Any = None) -> Any:
        """What is said of the whole merge; Invalid where it is needed and not said."""
        self.settings.add(name)
        value = self.shared.get(name, default)
        if value is None:
            raise refused(name, f"{name} is missing among the parameters of the merge")
        return value

    def refuse_unused(self) -> None:
        """Refuse a parameter that nothing has read: it would be a silent difference."""
        of_models = {name for own in [*self.own, self.base_own or {}] for name in own}
        unused = sorted((set(self.shared) - self.used - self.settings) | (of_models - self.used))
        if unused:
            raise refused(unused[0], f"{unused[0]} has no meaning here for {self.method}, or not at a model. Remove it")


def given_of(data: Mapping[str, Any]) -> Given:
    """The configuration. Raises Invalid `recipe.mergekit` for what can't be said of adapters."""
    for word in ("slices", "modules"):
        if word in data:
            raise refused(word, f"{word} merge layers apart; an adapter is merged as a whole. List `models`")
    if unknown := [str(word) for word in data if word not in TOP]:
        raise refused(unknown[0], f"{unknown[0]} says nothing of an adapter. Remove it")
    if data.get("tokenizer_source") not in (None, "base"):
        raise refused("tokenizer_source", "an adapter has no tokenizer; its base's stays. Remove it")
    if not isinstance(data.get("models"), list) or not data["models"]:
        raise refused("models", "expected a list of models")
    given = Given(str(data["merge_method"]), shared=_parameters(data))
    base, lora = _reference(data["base_model"], "base_model") if data.get("base_model") else (None, None)
    for entry in data["models"]:
        if not isinstance(entry, Mapping) or set(entry) - {"model", "parameters"}:
            raise refused("models", f"expected {{model, parameters}}, got {str(entry)[:100]!r}")
        _add(given, entry, base if lora is None else None)
    if not given.adapters:
        raise refused("models", "no adapter is among them; write org/model+namespace/adapter")
    if given.base is None and base is not None and base not in given.adapters:
        given.base = base
    if lora in given.adapters:
        _begin_with(given, lora)
    given.from_adapter = lora
    return given


def _add(given: Given, entry: Mapping[str, Any], bare: str | None) -> None:
    base, lora = _reference(entry.get("model"), "models")
    own = _parameters(entry)
    if lora is None and base == bare:
        given.base_own = own
        return
    if lora is not None:
        if given.base not in (None, base):
            raise refused("models", f"two bases are named, {given.base} and {base}; adapters of one base are merged")
        given.base = base
    given.adapters.append(lora or base)
    given.own.append(own)


def _begin_with(given: Given, adapter: str) -> None:
    """Let the adapter that is the base model come first, as a SLERP begins there."""
    place = given.adapters.index(adapter)
    for listed in (given.adapters, given.own):
        listed.insert(0, listed.pop(place))


def _reference(text: object, where: str) -> tuple[str, str | None]:
    """(model, LoRA or None) of `base+lora`; a path on somebody's disk is refused."""
    if not isinstance(text, str) or not text.strip():
        raise refused(where, f"expected org/model+namespace/adapter, or namespace/adapter, got {str(text)[:100]!r}")
    model, plus, lora = text.strip().partition("+")
    for name in (model, lora) if plus else (model,):
        if name.count("/") != 1 or name[0] in "./~" or name.endswith("/"):
            raise refused(
                where, f"{name!r} is no name of two parts; push the adapter to this hub and write namespace/name"
            )
    return model, lora if plus else None


def _parameters(data: Mapping[str, Any]) -> dict[str, Any]:
    found = data.get("parameters") or {}
    if not isinstance(found, Mapping):
        raise refused("parameters", f"expected values by name, got {str(found)[:100]!r}")
    return {str(name): value for name, value in found.items() if name not in IGNORED}


def number(name: str, value: object) -> float | None:
    """The value as one number; Invalid for anything else, None for nothing."""
    if value is None:
        return None
    if isinstance(value, list | Mapping):
        raise refused(name, f"{name} changes by layer or module; here it is one number for all. Give one")
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise refused(name, f"{name}: expected a number, got {value!r}")
    return float(value)


def refused(where: str, said: str) -> Invalid:
    """The refusal of a part of the configuration."""
    return Invalid(f"{where}: {said}.", code=CODE, field=where)
