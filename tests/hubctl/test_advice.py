"""What refusals of files tell a user to type, typed: each leads to a push that works."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hub.models import BaseModel, Version
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)
FIELD = Path(__file__).parents[1] / "field"


@pytest.fixture
def base(served):
    """The base of the cases."""
    from composition.base_models import module_shapes

    config = json.loads((FIELD / "bases" / "llama.json").read_text())
    made = factories.make_base()
    BaseModel.objects.filter(pk=made.pk).update(config=config, shapes=module_shapes(config))
    return made


def case(name, place):
    return Path(shutil.copytree(FIELD / "cases" / name, place / name))


def pushes(text):
    """The pushes that a refusal names, without the names that end a sentence."""
    return [shlex.split(one)[1:] for one in re.findall(r"hubctl push [^;\n]*?(?=;|\)| Push another|$)", text, re.M)]


@pytest.mark.parametrize("head", [False, True])
def test_a_bin_is_converted_by_the_command_and_pushed(head, hubctl, signed_in, base, tmp_path):
    import torch
    from safetensors.torch import load_file

    folder = case("f20_llava" if head else "f07_bin_only", tmp_path)
    weights = load_file(FIELD / "cases" / "f07b_bin_beside" / "adapter_model.safetensors")
    torch.save({"w": torch.ones(2)} if head else weights, next(folder.glob("*.bin")))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refusal = json.loads(hubctl("push", folder, "ada/x", "--json").err)
    assert refusal["code"] == "content.pickle"
    command = refusal["command"].replace("python ", f"{sys.executable} ", 1)
    subprocess.run(command, shell=True, cwd=folder, check=True, timeout=120)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    done = hubctl("push", folder / refusal["folder"], "ada/x")
    assert done.code == 0, done.err
    assert Version.objects.count() == 1


@pytest.mark.parametrize("name", ["f07b_bin_beside", "f04_multi_adapter", "f04b_only_subfolder"])
def test_every_push_that_the_refusal_names_works(name, hubctl, signed_in, base, tmp_path):
    refusal = hubctl("push", case(name, tmp_path), "ada/x")
    assert refusal.code == 1
    commands = pushes(refusal.err)
    assert commands
    for number, command in enumerate(commands):
        command = [f"ada/x{number}" if word == "ada/x" else word for word in command]
        done = hubctl(*command)
        assert done.code == 0, done.err
    assert Version.objects.count() >= len(commands)  # `--each` makes one of each folder
