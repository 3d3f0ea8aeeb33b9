"""`hubctl push` of another tool's folder: with the base it names, with --base, pulled again in both forms."""

import pytest

from tests import foreign
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
