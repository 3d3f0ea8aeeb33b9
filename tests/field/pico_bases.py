"""The pico bases of `bases` in memory, seeded and random, and what peft fills of an adapter: the truth of the door."""

import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel, set_peft_model_state_dict
from peft.utils import load_peft_weights

from composition.base_models import module_shapes
from composition.base_shapes import BaseShapes

HERE = Path(__file__).parent


def config(base: str) -> dict:
    """The config.json of one of `bases`."""
    return json.loads((HERE / "bases" / f"{base}.json").read_text())


@cache
def shapes(base: str) -> BaseShapes:
    """The shapes of one of `bases`, with their layout."""
    return module_shapes(config(base))


@cache
def kept_shapes(base: str) -> BaseShapes:
    """The shapes as the hub's database keeps them, and the config they came from."""
    return BaseShapes(json.loads(json.dumps(shapes(base))), config=config(base))


def model(base: str, *, meta: bool = False) -> Any:
    """The base itself: random weights under one seed, or on the meta device."""
    fields = config(base)
    cls = getattr(transformers, fields["architectures"][0])
    parsed = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    torch.manual_seed(0)
    with torch.device("meta" if meta else "cpu"):
        return cls(parsed).eval()


def live(base: Any, folder: Path) -> tuple[Any, list[str]]:
    """(peft's model, the file's tensors that filled nothing). Raises what peft raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attached = PeftModel.from_pretrained(base, str(folder)).eval()
        result = set_peft_model_state_dict(attached, load_peft_weights(str(folder), device="cpu"))
    return attached, list(result.unexpected_keys)
