"""The steps of a refusal `adapter.names` make files that pass the door and that peft loads, all of it."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from composition.errors import CompositionError
from composition.formats.peft.names import PREFIX, WEIGHTS_FILE
from composition.formats.peft.renaming import WRAPPERS, renamed, renaming_of
from composition.formats.validate import local_files, validate_adapter
from tests.field.pico_bases import HERE, live, model, shapes
from tests.field.test_cases import NAMES

pytestmark = pytest.mark.filterwarnings("ignore")

MISNAMED = [(row[0], row[1]) for row in NAMES if row[3] == "adapter.names"]
MODULES = [f"model.layers.{layer}.self_attn.{leaf}_proj" for layer in range(2) for leaf in "qv"]


@pytest.mark.parametrize(("case", "base"), MISNAMED)
def test_the_mended_copy_is_accepted_and_peft_fills_all_of_it(case, base, tmp_path):
    folder = tmp_path / case
    shutil.copytree(HERE / "cases" / case, folder)
    with pytest.raises(CompositionError) as refusal:
        validate_adapter(local_files(folder), base_shapes=shapes(base))
    steps = json.loads(json.dumps(refusal.value.facts["rename"]))
    weights = load_file(folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).unlink()
    save_file({renamed(name, steps): tensor for name, tensor in weights.items()}, folder / WEIGHTS_FILE)
    old, new = refusal.value.facts["example"]
    assert old in weights and renamed(old, steps) == new
    assert set(validate_adapter(local_files(folder), base_shapes=shapes(base)).modules) <= set(shapes(base))
    assert live(model(base), folder)[1] == []


@given(
    wrappers=st.lists(st.sampled_from((*WRAPPERS, "module")), max_size=3),
    within=st.sampled_from(("", *WRAPPERS)),
    inner=st.sampled_from(("", ".sft", ".adapter_7")),
    prefixes=st.integers(0, 3),
)
def test_whatever_stands_around_the_names_is_taken_off(wrappers, within, inner, prefixes):
    wrapped = "".join(f"{word}." for word in wrappers)
    inside = f"{within}." if within else ""
    good = [f"{PREFIX}{module}.lora_{half}.weight" for module in MODULES for half in "AB"]
    bad = [
        wrapped + PREFIX * prefixes + inside + name.removeprefix(PREFIX).replace(".weight", f"{inner}.weight")
        for name in good
    ]
    found = renaming_of(bad, MODULES)
    if bad == good:
        assert found is None
        return
    assert found is not None
    assert [found(name) for name in bad] == good
    assert [renamed(name, found.steps) for name in bad] == good


@pytest.mark.parametrize("start", ["transformer.h.0", "model.layers.7", "model.decoder.layers.0"])
def test_names_of_another_base_are_not_moved(start):
    names = [f"{PREFIX}{start}.self_attn.{leaf}_proj.lora_{half}.weight" for leaf in "qv" for half in "AB"]
    assert (renaming_of(names, MODULES) is None) == (start != "model.decoder.layers.0")
