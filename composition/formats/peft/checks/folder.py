"""Which files make an adapter's folder: one config and one file of weights at its top, and whole layers beside them.

What is missing or too much is told by what the folder looks like: adapters in folders, shards, another tool's names.
"""

import re
from collections.abc import Collection
from shlex import quote

from composition.errors import CompositionError
from composition.formats import finite
from composition.formats.peft.names import CONFIG_FILE, ORIGINAL, WEIGHTS_FILE
from composition.formats.peft.tensors import first_three
from composition.formats.safetensors_header import parse_header
from composition.formats.sources import Files

WEIGHT_ENDINGS = (".safetensors", ".gguf")
MANY = 3
"""So many folders are named with their commands."""

# The names of a whole model's, or another adapter's, weights: never a head's.
_MODELS = re.compile(
    r"(adapter.*|(?:model|pytorch_model|consolidated|diffusion_pytorch_model)(?:[-.]\S*)?)\.safetensors"
)
_SHARD = re.compile(r"(?P<stem>.+)-\d{4,6}-of-\d{4,6}\.safetensors")
_FACTOR = re.compile(r"lora|lokr_|hada_|\boft_", re.IGNORECASE)


def check_names(files: Files) -> list[str]:
    """The names of whole layers beside the adapter (a value head), each a safetensors file that holds no factor.

    What lies in the folder of an import's originals is not asked.

    Raises CompositionError `adapter.file_missing`, `.extra_weights`, and what a broken file of them raises.
    """
    own = sorted(name for name in files if not name.startswith(ORIGINAL))
    missing = next((name for name in (CONFIG_FILE, WEIGHTS_FILE) if name not in own), None)
    if missing:
        raise _missing(missing, own)
    others = [name for name in own if name.lower().endswith(WEIGHT_ENDINGS) and name != WEIGHTS_FILE]
    beside = [name for name in others if _may_be_beside(name)]
    extra = sorted({*others} - {*beside} | {name for name in beside if _holds_factors(files, name)})
    if extra:
        raise _extra(extra, own)
    return beside


def check_beside(files: Files, names: Collection[str]) -> list[str]:
    """A warning for each file of whole layers. Raises CompositionError `safetensors.*`, `adapter.not_finite`."""
    warnings = []
    for name in names:
        with files[name].open() as stream:
            header = parse_header(stream, size=files[name].size, file=name)
            broken, _ = finite.scan(stream, header)
        if broken:
            raise not_finite(name, broken)
        warnings.append(
            f"{name} ({first_three(header.tensors)}) is stored beside the adapter: peft does not load it, and what is "
            "made of this adapter leaves it out."
        )
    return warnings


def not_finite(file: str, broken: list[str]) -> CompositionError:
    """The refusal of tensors with NaN or infinity."""
    return CompositionError(
        "adapter.not_finite",
        f"{file} holds NaN or infinity in {first_three(broken)}. The training diverged, or float16 was too "
        "narrow: save a healthy checkpoint, or save as float32.",
        file=file,
        tensors=broken[:3],
        count=len(broken),
    )


def adapter_folders(paths: Collection[str]) -> list[str]:
    """The folders below the top that hold an adapter's config, sorted."""
    return sorted(path.rpartition("/")[0] for path in paths if path.endswith(f"/{CONFIG_FILE}"))


def _may_be_beside(name: str) -> bool:
    return "/" not in name and name.endswith(".safetensors") and not _MODELS.fullmatch(name)


def _holds_factors(files: Files, name: str) -> bool:
    with files[name].open() as stream:
        return any(_FACTOR.search(tensor) for tensor in parse_header(stream, size=files[name].size, file=name).tensors)


def _missing(name: str, paths: list[str]) -> CompositionError:
    folders = adapter_folders(paths)
    shards = [path for path in paths if "/" not in path and _SHARD.fullmatch(path)]
    facts: dict[str, object] = {"file": name, "files": paths[:20]}
    if folders and CONFIG_FILE not in paths:
        facts["folders"] = folders
        where = "is an adapter in the folder" if len(folders) == 1 else f"are {len(folders)} adapters, in the folders"
        problem = f"There {where} {first_three(folders)}, and none at the top."
        do = f"Push {'it' if len(folders) == 1 else 'each'} by its path: {_pushes(folders, every=len(folders) > 1)}"
    elif shards and name == WEIGHTS_FILE:
        facts["format"] = "sharded"
        problem = f"The weights are sharded over {len(shards)} files ({first_three(shards)}); there is no {name}."
        do = (
            "Join them: load the adapter with peft and save it again with save_pretrained(folder), which writes one "
            "file, and push that folder."
        )
    else:
        problem = f"The upload has no {name} at its top; it has {first_three(paths) or 'nothing'}."
        do = "Push the folder that peft's save_pretrained wrote."
    return CompositionError("adapter.file_missing", f"{problem} {do}", **facts)


def _extra(extra: list[str], paths: list[str]) -> CompositionError:
    folders = adapter_folders(paths)
    inside = sorted({path.rpartition("/")[0] for path in extra})
    facts: dict[str, object] = {"file": extra[0], "files": extra[:3], "count": len(extra)}
    if folders and {*inside} <= {*folders}:
        facts["folders"] = folders
        more = "an adapter" if len(folders) == 1 else f"{len(folders)} adapters"
        exclude = " ".join(f"--exclude {quote(f'{folder}/*')}" for folder in folders[:MANY])
        message = (
            f"The folder holds an adapter at its top and {more} in {first_three(folders)}. An upload is one adapter. "
            f"Push the one at the top alone: hubctl push FOLDER NAME {exclude}{' …' if len(folders) > MANY else ''} "
            f"Push another by its path: {_pushes(folders, every=True)}"
        )
    else:
        message = (
            f"There are weights in {first_three(extra)} besides {WEIGHTS_FILE}. An adapter has one file of weights, "
            "and beside it at most whole layers such as value_head.safetensors: leave the others out, or push them as "
            "separate adapters."
        )
    return CompositionError("adapter.extra_weights", message, **facts)


def _pushes(folders: list[str], *, every: bool) -> str:
    """The command for each of the first folders; each goes to a repository of its own where there are more.

    With `every` also the one for all of them, and for the adapter at the top.
    """
    names = ["NAME" if len(folders) == 1 else quote(f"NAME-{folder.replace('/', '-')}") for folder in folders]
    commands = [f"hubctl push {quote(f'FOLDER/{folder}')} {name}" for folder, name in zip(folders, names, strict=True)]
    more = f"; and {len(folders) - MANY} more likewise" if len(folders) > MANY else ""
    return "; ".join(commands[:MANY]) + more + ("; all at once: hubctl push FOLDER NAME --each" if every else "")
