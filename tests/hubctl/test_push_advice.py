"""Every `hubctl push …` that a refused push names is run as it stands, and works."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from hub.models import Repository, Version
from tests.hubctl.conftest import write
from tests.hubctl.test_folders import CASES, bases, llama  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
# Modules that name pushes to type; the cases here that make them do so, and how many they name.
TELLING = {
    "composition/formats/peft/judging.py": {"c01_torch_compile_prefix": 1},
    "composition/formats/peft/checks/folder.py": {"f04_multi_adapter": 3, "f04b_only_subfolder": 1},
    "composition/formats/pickles.py": {"f07b_bin_beside": 1, "pickle_in_a_folder": 1},
    "hub/access/base_guesses.py": {"f10_base_rev": 1, "f10_base_bnb4": 1, "f10_base_slash": 1},
    "hub/services/known_bases.py": {"unknown_base": 1},
    "hubctl/folders/pick.py": {"only_checkpoints": 1},
}
OF_NO_PUSH = {"hub/services/base_families.py"}  # it refuses merges
PUSH = re.compile(r"hubctl push [^\n;(]*?(?=;|\n|\)|$| – | Push another| To push|\. |: it )")


def commands_in(said: str) -> list[list[str]]:
    """The pushes that a text names, as words, each once."""
    found = dict.fromkeys(text.strip().rstrip(".,") for text in PUSH.findall(said))
    return [shlex.split(text) for text in found]


def folder_of(case: str, tmp_path: Path) -> Path:
    if case == "unknown_base":
        files = {p.name: p.read_bytes() for p in (CASES / "f08_nfd_name").iterdir()}
        files["adapter_config.json"] = files["adapter_config.json"].replace(b"pico/llama", b"nobody/here")
        return write(tmp_path / "adapter", files)
    if case == "only_checkpoints":
        files = {f"checkpoint-5/{p.name}": p.read_bytes() for p in (CASES / "f08_nfd_name").iterdir()}
        return write(tmp_path / "out put", files)
    if case != "pickle_in_a_folder":
        return CASES / case
    made = shutil.copytree(CASES / "f08_nfd_name", tmp_path / "my adapter")
    return write(made, {"old/adapter_model.bin": b"\x80\x02}q\x00."})


@pytest.mark.parametrize(("case", "count"), [row for cases in TELLING.values() for row in cases.items()])
def test_each_command_works_as_it_stands(hubctl, signed_in, llama, tmp_path, case, count):  # noqa: F811
    refused = hubctl("push", folder_of(case, tmp_path), "ada/x")
    assert refused.code == 1
    commands = commands_in(refused.err)
    assert len(commands) == count, refused.err
    for number, words in enumerate(commands):
        assert "FOLDER" not in " ".join(words) and "NAME" not in words
        done = hubctl(*("pico/llama" if word == "BASE" else word for word in words[1:]))
        assert done.code == 0, f"{shlex.join(words)}\n{done.err}"
        made = Repository.objects.filter(name=words[3].partition("/")[2])
        assert Version.objects.filter(repository__in=made).exists()
        made.update(name=f"done-{number}")


def test_no_module_tells_a_push_that_is_not_run_here():
    found = subprocess.run(
        [
            "grep",
            "-rlE",
            r"hubctl push .*(FOLDER|NAME)",
            "--include=*.py",
            "composition",
            "hub",
            "workers",
            "hubctl/folders/pick.py",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(found.stdout.split()) == set(TELLING) | OF_NO_PUSH
