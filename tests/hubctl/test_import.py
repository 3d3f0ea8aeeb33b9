"""`hubctl push` of another tool's folder: with the base it names, with --base, pulled again in both forms."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import foreign
from tests.composition.foreign.bases import PIPELINE, SMALL_XL, shapes
from tests.hubctl.conftest import write

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_folder_is_pushed_shown_and_pulled_in_both_forms(hubctl, signed_in, base, tmp_path):
    files, _ = foreign.mlx_lm()
    pushed = hubctl("push", write(tmp_path / "mlx", files), "ada/mine")
    assert (pushed.code, "ada/mine@v1 pushed" in pushed.out) == (0, True), pushed.err
    shown = hubctl("info", "ada/mine").out
    assert "Imported from mlx-lm" in shown
    assert hubctl("pull", "ada/mine@v1", "-o", tmp_path / "out").code == 0
    here = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert here >= {"adapter_config.json", "adapter_model.safetensors", *(f"original/{name}" for name in files)}
    assert all((tmp_path / "out" / "original" / name).read_bytes() == data for name, data in files.items())
    again = hubctl("push", tmp_path / "mlx", "ada/mine")
    assert "holds exactly this already as v1" in again.out


def test_a_file_that_names_no_base_needs_one(hubctl, signed_in, base, tmp_path):
    folder = write(tmp_path / "mlx", foreign.mlx_lm(base="mlx-community/pico-4bit")[0])
    refused = hubctl("push", folder, "ada/mine")
    assert refused.code == 1
    assert "mlx-lm" in refused.err
    assert "--base" in refused.err
    assert hubctl("push", folder, "ada/mine", "--base", "pico/llama").code == 0


def commands(title: str) -> list[str]:
    """The commands of one section of docs/bases.md."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "bases.md").read_text()
    section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


@pytest.mark.usefixtures("worker")
def test_the_commands_of_the_docs_register_image_models_and_push_for_them(hubctl, signed_in, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in ("unet", "text_encoder", "text_encoder_2"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(PIPELINE[part]))
    linear = {name: shape for name, shape in shapes(SMALL_XL).items() if name.endswith("to_q")}
    (tmp_path / "my_style.safetensors").write_bytes(foreign.kohya(linear)[0]["style.safetensors"])
    for command in commands("Image models"):
        if command.startswith("hubctl "):
            ran = hubctl(*shlex.split(command)[1:])
            assert ran.code == 0, ran.err
        else:
            python = command.replace("python ", f"{sys.executable} ", 1)
            assert subprocess.run(python, shell=True, check=False).returncode == 0
    assert hubctl("info", "ada/my-style").code == 0
    pulled = hubctl(*"pull ada/my-style@v1 --as kohya -o my-style-v1".split())  # as the version's page says
    assert pulled.code == 0, pulled.err
    assert list((tmp_path / "my-style-v1").glob("*.safetensors"))
    known = hubctl("base", "list").out
    assert "ada/sdxl" in known
    assert "ada/sdxl-whole" in known
