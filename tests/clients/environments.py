"""A virtual environment for each version of the clients, made once under `build/clients`.

What needs no other version comes from this repository's own environment (torch, numpy, safetensors): its packages
stand behind those of the client's environment on the path.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

BUILD = Path(__file__).parents[2] / "build" / "clients"
PACKAGES = {
    "2.4.0": ["huggingface_hub==2.4.0", "datasets==5.2.0"],
    "1.9.0": ["huggingface_hub==1.9.0", "transformers==5.17.0", "datasets==5.0.1"],
    "0.36.0": [
        "huggingface_hub==0.36.0",
        "transformers==4.57.3",
        "peft==0.18.0",
        "accelerate==1.12.0",
        "datasets==4.4.1",
    ],
    "0.26.5": [
        "huggingface_hub==0.26.5",
        "transformers==4.46.3",
        "peft==0.13.2",
        "accelerate==1.1.1",
        "datasets==3.1.0",
    ],
}
"""huggingface_hub's version → what is installed, of the time of that version."""


def python_of(version: str) -> Path:
    """The Python of that client's environment, made where it isn't there; CalledProcessError where pip fails."""
    folder = BUILD / version
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = "\n".join(PACKAGES[version])
    if ready.is_file() and ready.read_text() == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    (Path(paths["purelib"]) / "shared.pth").write_text(sysconfig.get_paths()["purelib"])
    install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*install, *PACKAGES[version]], check=True)
    ready.write_text(wanted)
    return python
