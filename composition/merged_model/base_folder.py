"""A base model's folder: its config, its tensors wherever they lie, and the files that go along unchanged."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .refusal import ExportRefused
from .stored import Stored, read_header, read_json

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".h5", ".msgpack", ".tflite", ".ot")
# What describes or lists the base's own files; the merged folder gets its own.
OWN = (CONFIG, INDEX, "README.md", "readme.md")


@dataclass(frozen=True)
class BaseFolder:
    """`shards`: file name → its tensors in order; `metadata`: file name → the header's; `index`: None for one file."""

    folder: Path
    config: dict[str, Any]
    shards: dict[str, dict[str, Stored]]
    metadata: dict[str, dict[str, str]]
    index: dict[str, Any] | None
    others: tuple[Path, ...]

    @property
    def tensors(self) -> dict[str, Stored]:
        """All tensors by name."""
        return {name: tensor for shard in self.shards.values() for name, tensor in shard.items()}

    def shard_of(self, name: str) -> str:
        """The file that holds a tensor."""
        return next(shard for shard, held in self.shards.items() if name in held)


def read_base(folder: Path) -> BaseFolder:
    """The base in `folder`; headers only. Raises ExportRefused `base`, `quantised`, `json`, `weights`."""
    if not (folder / CONFIG).is_file():
        raise ExportRefused("base", _no_base(folder))
    config = read_json(folder / CONFIG)
    if config.get("quantization_config"):
        raise ExportRefused(
            "quantised",
            f"{folder} holds a quantised base, and ΔW can't be added to quantised weights exactly. "
            "Merge into the 16-bit base that it was made from: --base-folder FOLDER_OF_THE_ORIGINAL.",
        )
    names, index = _weight_files(folder)
    shards: dict[str, dict[str, Stored]] = {}
    metadata: dict[str, dict[str, str]] = {}
    for name in names:
        shards[name], metadata[name] = read_header(folder / name)
    if index is not None:
        lost = [name for name, file in index["weight_map"].items() if name not in shards[file]]
        if lost:
            raise ExportRefused(
                "base", f"{folder / INDEX} names {lost[0]}, which its file does not hold. Fetch the base again."
            )
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    others = tuple(p for p in files if p.suffix not in WEIGHTS and p.name not in OWN and not _is_index(p.name))
    return BaseFolder(folder, config, shards, metadata, index, others)


def _is_index(name: str) -> bool:
    return name.endswith(".index.json")


def _weight_files(folder: Path) -> tuple[list[str], dict[str, Any] | None]:
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX)
        listed = index.get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise ExportRefused("base", f"{folder / INDEX} has no weight_map. Fetch the base again.")
        names = sorted(set(listed.values()))
        missing = [name for name in names if "/" in name or "\\" in name or not (folder / name).is_file()]
        if missing:
            raise ExportRefused(
                "base", f"{folder} lacks {missing[0]}, which {INDEX} lists. Fetch the whole base, then run this again."
            )
        return names, index
    if (folder / SINGLE).is_file():
        return [SINGLE], None
    raise ExportRefused("base", _no_base(folder))


def _no_base(folder: Path) -> str:
    if not folder.is_dir():
        gguf = folder.suffix == ".gguf" and folder.is_file()
        return _gguf(folder) if gguf else f"There is no folder {folder}. Give the base model's folder."
    gguf_files = sorted(folder.glob("*.gguf"))
    if gguf_files:
        return _gguf(gguf_files[0])
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        return (
            f"{folder} holds the base as pickles only, which are not read. Save it as safetensors: load it with "
            "transformers' from_pretrained and call save_pretrained(NEW_FOLDER), then give that folder."
        )
    return (
        f"{folder} is no base model's folder; expected {CONFIG} and {SINGLE} (or {INDEX} with its files) in it. "
        "Fetch one with: hf download ORG/NAME --local-dir FOLDER"
    )


def _gguf(path: Path) -> str:
    return (
        f"{path} is a GGUF model; a merged folder needs the base as safetensors. Best give the original base's folder. "
        "For a merged GGUF file add --as gguf. To use this file for a folder, dequantise it once, in a checkout of the "
        "hub: "
        f"python -m composition.running.convert_gguf {path} NEW_FOLDER, then give NEW_FOLDER."
    )
