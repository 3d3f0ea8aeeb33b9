"""The advice for a pickle, followed: a new folder that can be pushed, and nothing else touched."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from composition.errors import CompositionError
from composition.formats.content import sniff
from composition.formats.pickles import CONVERTED, convertible, pickle_advice
from composition.formats.validate import local_files, validate_adapter
from tests.uploads import CONFIG, SHAPES, WEIGHTS, adapter, tensors, zip_bytes

BIN = "adapter_model.bin"


def refusal(path, files):
    with pytest.raises(CompositionError) as caught:
        sniff(path, zip_bytes(), beside=files)
    assert caught.value.code == "content.pickle"
    return caught.value


def run(command, folder):
    """A user's shell: `python` is this one."""
    command = command.replace("python ", f"{sys.executable} ", 1)
    return subprocess.run(command, shell=True, cwd=folder, timeout=120, capture_output=True, text=True)


def snapshot(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def bin_folder(tmp_path):
    """A folder as old peft saved it: the config and a real .bin with a tensor that is a view, as torch saves them."""
    folder = tmp_path / "my adapter"
    folder.mkdir()
    for name, data in adapter().items():
        if name != WEIGHTS:
            (folder / name).write_bytes(data)
    weights = {name: torch.from_numpy(value.copy()) for name, value in tensors().items()}
    torch.save(weights, folder / BIN)
    return folder, weights


def test_the_command_makes_a_new_folder_that_can_be_pushed(bin_folder):
    folder, weights = bin_folder
    (folder / "README.md").write_text("# Mine")
    before = snapshot(folder)
    error = refusal(BIN, [CONFIG, BIN, "README.md"])
    command = error.facts["command"]
    assert "weights_only=True" in command
    assert command in error.message
    done = run(command, folder)
    assert done.returncode == 0, done.stderr
    made = folder / error.facts["folder"]
    after = snapshot(folder)
    assert {path: after[path] for path in before} == before
    assert {path.parts[0] for path in after.keys() - before.keys()} == {CONVERTED}
    assert (made / "README.md").read_text() == "# Mine"
    found = load_file(made / WEIGHTS)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())
    assert validate_adapter(local_files(made), base_shapes=SHAPES).warnings == []


def test_run_twice_it_overwrites_nothing(bin_folder):
    folder, _ = bin_folder
    command = refusal(BIN, [CONFIG, BIN]).facts["command"]
    run(command, folder)
    save_file({"mine": torch.ones(1)}, folder / CONVERTED / WEIGHTS)
    before = snapshot(folder)
    again = run(command, folder)
    assert again.returncode != 0
    assert "File exists" in again.stderr
    assert snapshot(folder) == before


def test_a_broken_pickle_leaves_no_folder(bin_folder):
    folder, _ = bin_folder
    (folder / BIN).write_bytes(b"PK\x03\x04" + bytes(60))
    assert run(refusal(BIN, [CONFIG, BIN]).facts["command"], folder).returncode != 0
    assert not (folder / CONVERTED).exists()


def test_heads_beside_the_adapter_are_converted_with_it(bin_folder):
    """LLaVA's non_lora_trainables.bin: whole layers, stored beside the adapter as safetensors."""
    folder, _ = bin_folder
    weights = folder / BIN
    (folder / WEIGHTS).write_bytes(adapter()[WEIGHTS])
    weights.unlink()
    head = {"model.mm_projector.weight": torch.ones(2, 3)}
    torch.save(head, folder / "non_lora_trainables.bin")
    command = refusal("non_lora_trainables.bin", [CONFIG, WEIGHTS, "non_lora_trainables.bin"]).facts["command"]
    assert run(command, folder).returncode == 0
    facts = validate_adapter(local_files(folder / CONVERTED), base_shapes=SHAPES)
    assert "non_lora_trainables.safetensors" in " ".join(facts.warnings)


@pytest.mark.parametrize(
    ("path", "beside"),
    [
        (BIN, [WEIGHTS]),
        ("global_step100/zero_pp_rank_0_mp_rank_00_model_states.pt", []),
        (f"checkpoint-5/{BIN}", []),
        ("optimizer.pt", []),
        ("training_args.bin", []),
        ("pytorch_model.bin", [WEIGHTS]),
        ("value_head.bin", ["value_head.safetensors"]),
        ("consolidated.00.pth", []),
        (WEIGHTS, []),
    ],
)
def test_everything_else_is_left_out_and_never_converted(path, beside):
    """A DeepSpeed checkpoint's advice once wrote over the good weights."""
    do, facts = pickle_advice(path, beside)
    assert "python" not in do
    assert "command" not in facts
    assert "Leave it out" in do or "save" in do.lower()


def test_only_names_at_the_top_are_convertible():
    names = [BIN, f"a/{BIN}", "value_head.bin", "optimizer.bin", "evil; rm -rf x.bin", "score.bin", "score.safetensors"]
    assert convertible(names) == [BIN, "value_head.bin"]
