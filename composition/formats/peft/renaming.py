"""Names that peft would skip, and the few steps that turn them into names it loads. Torch-free.

A refusal `adapter.names` carries the steps as its fact `rename`, a list of small objects that are applied to every
tensor's name in their order; a client needs nothing else to write a mended copy of the file:

    {"strip": "_orig_mod", "where": "anywhere"}       drop each part (between dots) that equals it
    {"strip": "module", "where": "start"}             drop it while it is the name's first part
    {"strip": "sft", "where": "after_factor"}         drop it where it follows a part that begins with "lora_"
    {"replace": "base_model.model.model.", "by": "base_model.model.model.language_model."}
                                                      where the name begins with it, once
    {"insert": "base_model.model."}                   put it before a name that does not begin with it

The other facts are `found` (what is wrong with the names, a list of the words of FOUND) and `example`, [old, new].
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from composition.formats.peft.names import PREFIX, parse_factor

Step = Mapping[str, str]

# What programs put around a model, as a part of every name: torch.compile, FSDP, activation checkpoints, DeepSpeed.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
DDP = "module"

FOUND = {
    "wrapper": "they carry {what}, which a wrapper around the model left in them ({whose})",
    "adapter_name": "they carry the adapter's name {what} between the factor and .weight",
    "prefix_doubled": "the prefix base_model.model. stands in them more than once",
    "prefix_missing": "they lack the prefix base_model.model.",
    "text_model": "they are those of the text model alone, and this base holds it as {what}",
    "encoder": "they are those of the model without its head (AutoModel), which this base holds as {what}",
    "prefix": "they begin otherwise than the base's modules, with {what}",
}
_WHOSE = {
    "_orig_mod": "torch.compile",
    "module": "DistributedDataParallel or DataParallel",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "_forward_module": "DeepSpeed or Fabric",
}
_TEXT = ("language_model", "text_model", "text_decoder")


@dataclass(frozen=True, slots=True)
class Renaming:
    """`steps` as told above; `found` pairs a word of FOUND with the text that stands for {what}."""

    steps: tuple[Step, ...]
    found: tuple[tuple[str, str], ...]

    def __call__(self, name: str) -> str:
        """The new name of a tensor."""
        return renamed(name, self.steps)

    def told(self) -> str:
        """What is wrong with the names, as part of a sentence."""
        texts = [
            FOUND[word].replace("{what}", what).replace("{whose}", _WHOSE.get(what.rstrip("."), ""))
            for word, what in self.found
        ]
        return "; ".join(texts)


def renamed(name: str, steps: Iterable[Step]) -> str:
    """The name after all steps."""
    for step in steps:
        if "strip" in step:
            name = _stripped(name, step["strip"], step["where"])
        elif "replace" in step:
            name = step["by"] + name[len(step["replace"]) :] if name.startswith(step["replace"]) else name
        elif not name.startswith(step["insert"]):
            name = step["insert"] + name
    return name


def renaming_of(names: Collection[str], modules: Collection[str]) -> Renaming | None:
    """The first renaming after which every factor's module is one of the base's; None where there is none."""
    for found in renamings(names, modules):
        factors = [factor for name in names if (factor := parse_factor(found(name)))]
        if factors and all(factor.module in modules for factor in factors):
            return found
    return None


def renamings(names: Collection[str], modules: Collection[str] = ()) -> Iterator[Renaming]:
    """The renamings worth trying, the plainest first; `modules` are the base's, empty where it is not known.

    Nothing is yielded where the names have none of these faults.
    """
    steps: list[Step] = []
    found: list[tuple[str, str]] = []
    for step, word, what in (*_wrappers(names, modules), *_adapter_names(names)):
        steps.append(step)
        found.append((word, what))
    now = [renamed(name, steps) for name in names]
    for step, word in _prefixes(now):
        steps.append(step)
        found.append((word, ""))
    if steps:
        yield Renaming(tuple(steps), tuple(found))
    now = [renamed(name, steps) for name in names]
    for old, new in _substitutions(now, modules):
        step = {"replace": PREFIX + old, "by": PREFIX + new}
        word = _word(old, new)
        what = f"{old or 'nothing'} for {new or 'nothing'}" if word == "prefix" else new.rstrip(".")
        yield Renaming((*steps, step), (*found, (word, what)))


def _stripped(name: str, text: str, where: str) -> str:
    parts = name.split(".")
    if where == "start":
        while parts and parts[0] == text:
            parts.pop(0)
        return ".".join(parts)
    if where == "anywhere":
        return ".".join(part for part in parts if part != text)
    kept = [part for place, part in enumerate(parts) if not (part == text and _follows_factor(parts, place))]
    return ".".join(kept)


def _follows_factor(parts: list[str], place: int) -> bool:
    return place > 0 and parts[place - 1].startswith("lora_")


def _wrappers(names: Collection[str], modules: Collection[str]) -> Iterator[tuple[Step, str, str]]:
    parts = {part for name in names for part in name.split(".")}
    for text in WRAPPERS:
        if text in parts:
            yield {"strip": text, "where": "anywhere"}, "wrapper", f"{text}."
    own = any(DDP in module.split(".") for module in modules)
    if DDP in parts and not own:
        yield {"strip": DDP, "where": "anywhere" if modules else "start"}, "wrapper", f"{DDP}."


def _adapter_names(names: Collection[str]) -> Iterator[tuple[Step, str, str]]:
    """The one part that follows lora_A and lora_B in every factor, if it is no "weight", "bias" or "default"."""
    after: set[str] = set()
    for name in names:
        parts = name.split(".")
        after.update(part for place, part in enumerate(parts) if _follows_factor(parts, place))
    after -= {"weight", "bias"}
    if len(after) == 1 and after != {"default"}:
        (text,) = after
        yield {"strip": text, "where": "after_factor"}, "adapter_name", text


def _prefixes(names: Collection[str]) -> Iterator[tuple[Step, str]]:
    counted = {_leading(name) for name in names}
    if counted == {0}:
        yield {"insert": PREFIX}, "prefix_missing"
    elif len(counted) == 1 and (times := counted.pop()) > 1:
        yield {"replace": PREFIX * times, "by": PREFIX}, "prefix_doubled"


def _leading(name: str) -> int:
    times = 0
    while name.startswith(PREFIX):
        name, times = name.removeprefix(PREFIX), times + 1
    return times


def _substitutions(names: Collection[str], modules: Collection[str]) -> list[tuple[str, str]]:
    """(old, new) beginnings of the modules' names before the list of layers, text models before others."""
    asked = sorted({factor.module for name in names if (factor := parse_factor(name))})
    if not asked or not modules or all(module in modules for module in asked):
        return []
    first = next((name for name in asked if name not in modules and _numbered(name)), None)
    if first is None:
        return []
    parts = first.split(".")
    known = set(modules)
    tried: dict[tuple[str, str], None] = {}
    for cut in range(_numbered(first)):
        old, rest = ".".join((*parts[:cut], "")), ".".join(parts[cut:])
        ends = [module for module in modules if module == rest or module.endswith(f".{rest}")]
        for module in sorted(ends, key=lambda end: (not any(word in end for word in _TEXT), end)):
            new = module[: len(module) - len(rest)]
            moved = (new + name[len(old) :] if name.startswith(old) else name for name in asked)
            if old != new and all(name in known for name in moved):
                tried[(old, new)] = None
        if ends:
            break
    return list(tried)


def _numbered(module: str) -> int:
    """Where the list of layers stands in the name, counted from 1, so that the layers stay the same; 0 without one."""
    parts = module.split(".")
    return next((place for place, part in enumerate(parts) if part.isdigit()), 0)


def _word(old: str, new: str) -> str:
    if any(word in new for word in _TEXT) and not any(word in old for word in _TEXT):
        return "text_model"
    return "encoder" if new.endswith(old) and new != old and not old else "prefix"
