"""What of a folder is pushed, and what kind of repository it makes: one table for client, pages and hub.

`hubctl/folders/rules.py` is a copy of this file, as the client imports nothing of the other rooms; a test holds them
equal. The upload page gets the table as JSON. A pattern is for one part of a path, letter case aside: `*` stands for
any characters; one that ends in `/` is for folders, any other for files.
"""

from fnmatch import fnmatchcase

STATES = ("optimizer", "scheduler", "scaler", "rng_state", "random_states", "training_args", "sampler")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

LEFT_OUT: dict[str, tuple[str, ...]] = {
    "states of a training run": (
        *(f"{stem}*{ending}" for stem in STATES for ending in PICKLES),
        "custom_checkpoint_*.pkl",
        "checkpoint-*/",
    ),
    "DeepSpeed's and FSDP's states": (
        "global_step*/",
        "zero_to_fp32.py",
        "zero_pp_rank_*",
        "bf16_zero_pp_rank_*",
        "*_optim_states.pt",
        "mp_rank_*_model_states.pt",
        "latest",
        "pytorch_model_fsdp*/",
        "optimizer_*/",
        "*.distcp",
    ),
    "logs": (
        "runs/",
        "wandb/",
        "mlruns/",
        "lightning_logs/",
        "swanlog/",
        "tensorboard/",
        "events.out.tfevents.*",
        "*.log",
        "nohup.out",
    ),
    "what tools leave": (
        "__pycache__/",
        "*.pyc",
        "__MACOSX/",
        "Thumbs.db",
        "desktop.ini",
        "unsloth_compiled_cache/",
        "*.swp",
        "*~",
        "*.tmp",
        "*.lock",
        "*.part",
        "*.incomplete",
    ),
    "hidden files": (".*", ".*/"),
}
KEPT = (".gitattributes",)
"""Hidden files that are pushed."""

KIND_OF: tuple[tuple[str, str], ...] = (
    ("generator_config.json", "generator"),
    ("adapter_config.json", "adapter"),
    ("*.safetensors", "adapter"),
    ("*.gguf", "adapter"),
    ("*.jsonl", "dataset"),
)
"""A file at the top of the folder → the kind of repository that the folder makes; the first row that matches."""


def left_out(path: str) -> tuple[str, str] | None:
    """(the part of the path that is left behind, a folder with its slash; what it is); None for what is pushed."""
    parts = path.split("/")
    for depth, part in enumerate(parts, 1):
        folder = depth < len(parts)
        for what, patterns in LEFT_OUT.items():
            if part not in KEPT and any(_is(part, pattern, folder) for pattern in patterns):
                return "/".join(parts[:depth]) + ("/" if folder else ""), what
    return None


def kind_of(paths: list[str]) -> str | None:
    """The kind of repository that files of these paths make; None where they don't say, as of a card alone."""
    top = [path.lower() for path in paths if "/" not in path]
    for pattern, kind in KIND_OF:
        if any(fnmatchcase(name, pattern) for name in top):
            return kind
    return None


def as_json() -> dict[str, list]:
    """The table for a page's script."""
    patterns = [pattern for row in LEFT_OUT.values() for pattern in row]
    return {"left_out": patterns, "kept": list(KEPT), "kind_of": [list(row) for row in KIND_OF]}


def _is(part: str, pattern: str, folder: bool) -> bool:
    return folder == pattern.endswith("/") and fnmatchcase(part.lower(), pattern.removesuffix("/").lower())
