"""The `config.json` that a GGUF file stands for, read from its metadata: it registers the file as a base."""

from pathlib import Path
from typing import Any

from composition.errors import CompositionError


def gguf_config(path: str | Path) -> dict[str, Any]:
    """The fields of a `config.json` as transformers reads them from the file's metadata; no tensor is read.

    It takes seconds, since the tokenizer stands in the same metadata. Errors: `base.gguf_unreadable`.
    """
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    try:
        config = dict(load_gguf_checkpoint(str(path), return_tensors=False)["config"])
    except Exception as error:  # any bytes may stand in the file, and the reader raises as many types
        raise CompositionError(
            "base.gguf_unreadable",
            f"{Path(path).name!r} can't be read as a GGUF model: {type(error).__name__}: {error}. Give a .gguf of an "
            "architecture that transformers converts (Llama, Qwen, Gemma, Phi and similar).",
        ) from error
    return {key: _plain(value) for key, value in config.items() if not key.startswith("_")}


def _plain(value: Any) -> Any:
    """numpy's numbers and arrays as JSON has them."""
    return value.tolist() if hasattr(value, "tolist") else value
