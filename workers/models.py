"""The base models a worker has in memory: the most recently used stay, as many as the byte budget allows.

An adapter is attached for one job and then detached, which leaves the base bit for bit as it was. The adapter of a
trial stays attached until the base is needed for something else, because people try one adapter many times. Adapters
that replace the base's weights (PiSSA and similar) or carry base weights get a base that is thrown away afterwards.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from composition.errors import Cancelled, CompositionError
from hub.models import BaseModel
from workers.bases import base_folder

log = logging.getLogger(__name__)
FLOAT = "float32"


class LoadedBases:
    """(model, tokenizer) by base and precision, the least recently used dropped first."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._models: OrderedDict[tuple[int, str], tuple[Any, Any, int]] = OrderedDict()
        self._kept: dict[int, tuple[str, Any]] = {}

    def ids(self) -> list[int]:
        """Ids of the bases in memory, the most recently used last."""
        return list(dict.fromkeys(pk for pk, _ in self._models))

    def get(self, base: BaseModel, say=lambda message: None, *, precision: str = FLOAT) -> tuple[Any, Any]:
        """The base and its tokenizer, from memory or from disk.

        Errors: `base.not_held`, `base.other_shapes`, `base.precision`.
        """
        key = (base.pk, precision)
        if precision == FLOAT:
            self._take_off(base.pk)
        if key in self._models:
            self._models.move_to_end(key)
            return self._models[key][:2]
        from composition.running.base_models import load_base
        from workers.devices import placement

        folder = base_folder(base, say)
        say(f"Loading {base}")
        needed = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        self._make_room(needed)
        model, tokenizer = load_base(folder, precision, device_map=placement(needed))
        check_shapes(base, {name: p.shape for name, p in model.named_parameters()})
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        self._models[key] = (model, tokenizer, size)
        return model, tokenizer

    def drop(self, base: BaseModel) -> None:
        """Forget the models of a base whose weights may have been changed."""
        self._kept.pop(base.pk, None)
        for key in [key for key in self._models if key[0] == base.pk]:
            del self._models[key]

    @contextmanager
    def with_adapter(
        self, base: BaseModel, folder: Path, *, replaces_base: bool, say=lambda _: None, keep: str = ""
    ) -> Iterator[tuple]:
        """(model, tokenizer) with the adapter in `folder` attached, for the time of the block.

        With a name in `keep`, the adapter stays attached until the base is used for something else, so that the next
        block with that name begins at once.
        """
        kept = self._kept.get(base.pk)
        if kept and keep and kept[0] == keep:
            attached, tokenizer = kept[1], self._models[base.pk, FLOAT][1]
            self._models.move_to_end((base.pk, FLOAT))
        else:
            model, tokenizer = self.get(base, say)
            attached = self._attach(base, model, folder)
        whole = False
        try:
            yield attached.model, tokenizer
            whole = True
        except (Cancelled, CompositionError):
            whole = True  # Raised between two steps of a method; nothing is half done.
            raise
        finally:
            self._kept[base.pk] = (keep, attached)
            if not whole or replaces_base:
                # After an error in the middle it is unknown what is attached; loading again is cheap.
                self.drop(base)
            elif not keep:
                self._take_off(base.pk)

    def _attach(self, base: BaseModel, model: Any, folder: Path) -> Any:
        import composition.moe.lora_moe_peft  # noqa: F401 - mixtures are adapters that peft knows by this import
        from composition.running.attaching import Attached

        try:
            return Attached(model, folder)
        except BaseException:
            self.drop(base)
            raise

    def _take_off(self, pk: int) -> None:
        """Detach the adapter of a base in memory, if there is one."""
        if kept := self._kept.pop(pk, None):
            kept[1].take_off()

    def _make_room(self, needed: int) -> None:
        while self._models and sum(size for *_, size in self._models.values()) + needed > self.budget:
            key, _ = self._models.popitem(last=False)
            if key[1] == FLOAT:
                self._kept.pop(key[0], None)
            log.info("dropped base %s in %s from memory", *key)


def checked_folder(base: BaseModel, say=lambda message: None) -> Path:
    """`base_folder`, for code that loads the weights itself; shapes are checked from the files' headers alone.

    Errors: `base.not_held`, `base.other_shapes`.
    """
    from safetensors import safe_open

    folder, have = base_folder(base, say), {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as source:
            have |= {name: list(source.get_slice(name).get_shape()) for name in source.keys()}  # noqa: SIM118
    check_shapes(base, have)
    return folder


def check_shapes(base: BaseModel, have: Mapping[str, Sequence[int]]) -> None:
    """Refuse weights whose shapes differ from the base's row, such as a pruned copy under its parent's name.

    `have` is {name of a parameter: shape}. Errors: `base.other_shapes`.
    """
    for module, shape in (base.shapes or {}).items():
        found = have.get(f"{module}.weight", have.get(module))
        if found is not None and len(found) == 2 and sorted(found) != sorted(shape):
            raise CompositionError(
                "base.other_shapes",
                f"In the weights this worker holds as {base}, {module} has shape {list(found)}, not {list(shape)}: "
                "they are of another model. Replace them with the right ones.",
                module=module,
            )
