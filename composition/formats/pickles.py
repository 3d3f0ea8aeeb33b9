"""What to do with a pickle: convert it on one's own machine into a new folder, or leave it out.

The command reads with `weights_only=True`, writes nothing into the folder but one new folder, and stops where that is
there already.
"""

import shlex
from collections.abc import Collection

from composition.formats.folder_rules import left_out

ADAPTER = "adapter_model"
# Whole layers that trainers save beside an adapter.
BESIDE = frozenset({"value_head", "non_lora_trainables", "head", "classifier", "score", "pytorch_model_head"})
TORCH_WEIGHTS = ("adapter_model", "pytorch_model", "diffusion_pytorch_model", "pytorch_lora_weights", "consolidated")
"""How the weights' files begin that PyTorch's loaders look for by their names."""
CONVERTED = "as_safetensors"
"""The folder that the command makes."""

CONVERT = (
    'python -c "import os, shutil, sys, torch; from safetensors.torch import save_file; '
    "w = {n[:-4]: torch.load(n, map_location='cpu', weights_only=True) for n in sys.argv[1:]}; "
    "os.mkdir('" + CONVERTED + "'); "
    "[save_file({k: v.clone().contiguous() for k, v in t.items()}, f'" + CONVERTED + "/{n}.safetensors') "
    "for n, t in w.items()]; "
    "[shutil.copy(n, '" + CONVERTED + "') for n in os.listdir() "
    "if n.endswith(('.json', '.safetensors', '.md', '.jinja', '.model', '.tiktoken', '.txt'))]\" {names}"
)


def pickle_advice(path: str, beside: Collection[str]) -> tuple[str, dict[str, object]]:
    """(what to do with the pickle `path` of an upload of the files `beside`, facts: `command` where there is one)."""
    names = convertible({*beside, path})
    if path in names:
        command = CONVERT.replace("{names}", " ".join(names))
        do = (
            f"On your own machine, in that folder, run: {command} It writes the new folder {CONVERTED} and changes "
            "nothing else; push that one."
        )
        return do, {"command": command, "folder": CONVERTED}
    stem = _stem(path)
    out = f"Leave it out (hubctl push FOLDER NAME --exclude {_quoted(path)})"
    folder = path.rpartition("/")[0]
    if stem == ADAPTER and folder and f"{folder}/adapter_config.json" in beside and not left_out(path):
        return f"Push the folder {folder} by its path: hubctl push {_quoted(f'FOLDER/{folder}')} NAME", {}
    if folder or left_out(path):
        return f"{out}: it belongs to the training run and not to the adapter.", {}
    whole = f"{stem}.safetensors"
    if whole in beside:
        return f"{out}: {whole} beside it holds the weights.", {}
    return f"{out}: an adapter's weights are in {ADAPTER}.safetensors, which peft's save_pretrained writes.", {}


def zip_advice(path: str) -> str:
    """What to do with a ZIP that bears another name: the weights' one is mostly PyTorch's file, renamed."""
    if path == f"{ADAPTER}.safetensors":
        return (
            f"If it is PyTorch's file renamed, give it back its name {ADAPTER}.bin and push: the answer then has the "
            "command that converts it. If it is an archive, push the files in it."
        )
    return "Push the files in it instead."


def is_torch_weights(path: str) -> bool:
    """Whether a file has a name by which PyTorch's loaders find weights, which they unpickle."""
    name = path.rpartition("/")[2].lower()
    return name.startswith(TORCH_WEIGHTS) or name.partition(".")[0] in BESIDE


def convertible(paths: Collection[str]) -> list[str]:
    """The .bin files at the top whose tensors belong to the adapter and are not there as safetensors, sorted."""
    known = {f"{stem}.bin": f"{stem}.safetensors" for stem in (ADAPTER, *BESIDE)}
    return sorted(path for path in paths if path in known and known[path] not in paths)


def _quoted(text: str) -> str:
    """For a shell."""
    return shlex.quote(text) if text.isprintable() else "PATH"


def _stem(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]
