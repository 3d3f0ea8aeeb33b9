"""A base's own files: which of a folder are pushed, and the push, resumed as any other.

The hub then serves them to clients that ask it for the base as well, such as transformers with HF_ENDPOINT.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubctl.errors import NotFound, Refused
from hubctl.upload import Moved, Said, hashed, send_all

if TYPE_CHECKING:
    from hubctl.client import Hub

WEIGHTS = (".safetensors", ".gguf")
LEFT_OUT = (
    ".*", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.ot", "*.tflite", "*.py", "*.pyc",
    "*.lock", "*.metadata", "*.incomplete",
)  # fmt: skip
"""What model folders hold and the hub does not take, or takes for nothing: other frameworks' weights, code."""


def files_of_base(folder: str | Path, *, exclude: Sequence[str] = ()) -> tuple[dict[str, Path], list[str]]:
    """({path: file}, [left out]) of a model's folder, or of one .gguf or .safetensors file."""
    root = Path(folder)
    if root.is_file():
        return {root.name: root}, []
    if not root.is_dir():
        raise Refused(f"there is no folder {str(folder)!r} here; give the one that holds the model.")
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    left = [path for path in found if _is_left_out(path, exclude)]
    kept = {path: file for path, file in found.items() if path not in left}
    if not any(path.lower().endswith(WEIGHTS) for path in kept):
        raise Refused(
            f"{folder} holds no .safetensors and no .gguf. Where the weights are a .bin, write them anew: "
            'AutoModel.from_pretrained(FOLDER).save_pretrained("out").'
        )
    return kept, left


def _is_left_out(path: str, exclude: Sequence[str]) -> bool:
    parts = path.split("/")
    return any(fnmatch(part, pattern) for part in parts for pattern in LEFT_OUT) or any(
        fnmatch(path, pattern) for pattern in exclude
    )


def push_base(
    hub: "Hub",
    folder: str | Path,
    name: str,
    *,
    revision: str = "main",
    config: Mapping[str, Any] | None = None,
    license: str = "",
    exclude: Sequence[str] = (),
    moved: Moved = lambda what, done, total: None,
    said: Said = lambda line: None,
) -> dict[str, Any]:
    """Make the files of `folder` those that the hub serves of the base `name`; others that it had are gone.

    The base is registered first where it is not there, with `config`. Returns {"base", "commit", "files", "size"},
    and "left_out", the paths that were not pushed.
    """
    files, left = files_of_base(folder, exclude=exclude)
    if left:
        said(f"left out: {', '.join(left[:8])}" + (f" and {len(left) - 8} more" if len(left) > 8 else ""))
    named = name if revision == "main" else f"{name}@{revision}"
    try:
        found = hub.base(named)
    except NotFound:
        found = hub.add_base(name, config, revision=revision, license=license)["base"]
    wanted = {"revision": found["revision"]}
    to, end = f"/bases/{found['name']}", "base-commit"
    return {**send_all(hub, to, hashed(files, moved), wanted, moved, end=end), "left_out": left}
