"""A toy adapter format, as a developer would add one: this module is all of its sub-package, `composition/formats/toy`.

toy.json            {"base": "org/name", "scale": s}
toy.safetensors     {module}.down [r, in], {module}.up [out, r], float32        ΔW = s · up @ down
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from composition.errors import CompositionError
from composition.facts import AdapterFacts, ModuleFacts
from composition.formats.gate import check_content
from composition.formats.safetensors_header import parse_header
from composition.formats.sources import Files, read_start
from composition.formats.strict_json import strict_loads
from composition.formats.table import ADAPTER, BaseName, Format

CONFIG, WEIGHTS = "toy.json", "toy.safetensors"


def validate(files: Files, *, base_shapes: Mapping[str, Sequence[int]] | None = None) -> AdapterFacts:
    """Raises CompositionError `toy.file_missing`, `toy.shape`."""
    check_content(files)
    for name in (CONFIG, WEIGHTS):
        if name not in files:
            raise CompositionError("toy.file_missing", f"The upload has no {name}. Push both files.", file=name)
    config, source = _config(files), files[WEIGHTS]
    with source.open() as stream:
        header = parse_header(stream, size=source.size, file=WEIGHTS)
    modules = {}
    for name in sorted(name.removesuffix(".down") for name in header.tensors if name.endswith(".down")):
        (r, width), (height, _) = (header.tensors[f"{name}.{half}"].shape for half in ("down", "up"))
        if base_shapes is not None and list(base_shapes.get(name, ())) != [height, width]:
            raise CompositionError("toy.shape", f"{name} does not fit the base. Choose the base it was trained on.")
        modules[name] = ModuleFacts(r=r, in_features=width, out_features=height, scale=config["scale"])
    return AdapterFacts(
        peft_type="TOY",
        modules=modules,
        dtype="F32",
        parameters=sum(tensor.elements for tensor in header.tensors.values()),
        bytes=source.size,
        target_modules=sorted({name.rpartition(".")[2] for name in modules}),
        base_model_name=config["base"],
    )


def read(folder: Path):
    """The toy adapter in a folder, as LoraWeights."""
    from safetensors.torch import load_file

    from composition.weights import Factors, LoraWeights

    config, tensors = json.loads((folder / CONFIG).read_bytes()), load_file(folder / WEIGHTS)
    names = [name.removesuffix(".down") for name in tensors if name.endswith(".down")]
    modules = {name: Factors(tensors[f"{name}.down"], tensors[f"{name}.up"], config["scale"]) for name in names}
    return LoraWeights(modules, base_model=config["base"], name=folder.name)


def _config(files: Files) -> dict:
    return strict_loads(read_start(files[CONFIG], 1 << 16), area="toy", what=CONFIG)


ROW = Format(
    name="toy",
    label="Toy",
    holds=ADAPTER,
    detect=lambda files: CONFIG in files,
    validate=validate,
    content=lambda path: path in (CONFIG, WEIGHTS),
    config=CONFIG,
    weights=WEIGHTS,
    base_of=lambda files: BaseName(_config(files)["base"]) if CONFIG in files else None,
    read=f"{__name__}:read",
    merges=True,
)
