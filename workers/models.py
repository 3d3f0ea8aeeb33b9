"""The base models a worker has in memory: the last used stay, as many as the byte budget allows.

An adapter is attached for one job and taken off again, which leaves the base bit for bit as it was. Adapters that
replace the base's weights (PiSSA and kin) or carry weights of their own get a base that is thrown away afterwards.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from composition.errors import CompositionError
from hub.models import BaseModel
from workers.bases import base_folder

log = logging.getLogger(__name__)


class LoadedBases:
    """(model, tokenizer) by base and precision, the least recently used dropped first."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._models: OrderedDict[tuple[int, str], tuple[Any, Any, int]] = OrderedDict()

    def ids(self) -> list[int]:
        """Ids of the bases in memory, the last used last."""
        return list(dict.fromkeys(pk for pk, _ in self._models))

    def get(self, base: BaseModel, say=lambda message: None, *, precision: str = "float32") -> tuple[Any, Any]:
        """The base and its tokenizer, from memory or from disk.

        Errors: `base.not_held`, `base.other_shapes`, `base.precision`.
        """
        key = (base.pk, precision)
        if key in self._models:
            self._models.move_to_end(key)
            return self._models[key][:2]
        from composition.base_models import load_base
        from workers.devices import device

        folder = base_folder(base, say)
        say(f"Loading {base}")
        needed = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        self._make_room(needed)
        model, tokenizer = load_base(folder, precision)
        check_shapes(base, model)
        if precision != "int8":  # which lies where it was loaded
            model.to(device())
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        self._models[key] = (model, tokenizer, size)
        return model, tokenizer

    def drop(self, base: BaseModel) -> None:
        """Forget a model that is no longer what its base's name says."""
        for key in [key for key in self._models if key[0] == base.pk]:
            del self._models[key]

    @contextmanager
    def with_adapter(
        self, base: BaseModel, folder: Path, *, replaces_base: bool, say=lambda _: None
    ) -> Iterator[tuple]:
        """(model, tokenizer) with the adapter in `folder` attached, for the time of the block."""
        from peft import PeftModel

        import composition.moe.lora_moe_peft  # noqa: F401 - mixtures are adapters that peft knows by this import

        model, tokenizer = self.get(base, say)
        attached, clean = None, False
        try:
            attached = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
            attached.eval()
            yield attached, tokenizer
            clean = not replaces_base
        finally:
            if clean:
                attached.unload()
                if hasattr(model, "peft_config"):
                    del model.peft_config
            else:
                # After an error in the middle nobody knows what is attached; loading again is cheap.
                self.drop(base)

    def _make_room(self, needed: int) -> None:
        while self._models and sum(size for *_, size in self._models.values()) + needed > self.budget:
            key, _ = self._models.popitem(last=False)
            log.info("dropped base %s in %s from memory", *key)


def check_shapes(base: BaseModel, model: Any) -> None:
    """Refuse weights of another shape than the base's row says: a pruned copy under its parent's name."""
    if not base.shapes:
        return
    have = {name: list(p.shape) for name, p in model.named_parameters() if p.dim() == 2}
    for name, parameter in list(have.items()):
        have[name.removesuffix(".weight")] = parameter
    for module, shape in base.shapes.items():
        found = have.get(module)
        if found is not None and sorted(found) != sorted(shape):
            raise CompositionError(
                "base.other_shapes",
                f"The weights this worker holds as {base} have {module} of shape {found}, not {list(shape)}: they are "
                "another model. Put the right ones in their place.",
                module=module,
            )
