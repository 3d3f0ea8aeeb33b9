"""One adapter a folder: what else lies there is named with the way to push it, and whole layers are stored beside."""

import numpy as np
import pytest
from safetensors.numpy import save

from composition.errors import CompositionError
from composition.formats.sources import MemoryFile
from composition.formats.validate import validate_adapter
from tests.uploads import CONFIG, PREFIX, SHAPES, WEIGHTS, adapter, tensors

HEAD = save({"v_head.summary.weight": np.ones((1, 32), np.float32), "v_head.summary.bias": np.zeros(1, np.float32)})


def validate(files):
    return validate_adapter({name: MemoryFile(data) for name, data in files.items()}, base_shapes=SHAPES)


def refusal(files):
    with pytest.raises(CompositionError) as caught:
        validate(files)
    return caught.value


def within(folder):
    return {f"{folder}/{name}": data for name, data in adapter().items()}


def test_one_adapter_in_a_folder_is_named_with_its_push():
    error = refusal({"README.md": b"x", **within("default")})
    assert (error.code, error.facts["folders"]) == ("adapter.file_missing", ["default"])
    assert "hubctl push FOLDER/default NAME" in error.message


def test_several_adapters_in_folders_each_get_a_repository():
    error = refusal({name: data for folder in "abcd" for name, data in within(folder).items()})
    assert error.facts["folders"] == ["a", "b", "c", "d"]
    for folder in "abc":
        assert f"hubctl push FOLDER/{folder} NAME-{folder}" in error.message
    assert "1 more" in error.message


def test_an_adapter_beside_another_is_pushed_alone_or_by_its_path():
    error = refusal({**adapter(), **within("reference")})
    assert (error.code, error.facts["folders"]) == ("adapter.extra_weights", ["reference"])
    assert "hubctl push FOLDER NAME --exclude 'reference/*'" in error.message
    assert "hubctl push FOLDER/reference NAME" in error.message


def test_shards_of_other_names_are_named():
    """Those of adapter_model are imported."""
    shards = {f"model-0000{n}-of-00002.safetensors": adapter()[WEIGHTS] for n in (1, 2)}
    error = refusal({CONFIG: adapter()[CONFIG], **shards})
    assert (error.code, error.facts["format"]) == ("adapter.file_missing", "sharded")
    assert "sharded over 2 files" in error.message


@pytest.mark.parametrize("name", ["value_head.safetensors", "non_lora_trainables.safetensors", "score.safetensors"])
def test_whole_layers_are_stored_beside_with_a_warning(name):
    facts = validate({**adapter(), name: HEAD})
    (warning,) = facts.warnings
    assert warning.startswith(f"{name} (v_head.summary")
    assert facts.needs_base == []
    assert facts.modules.keys() == validate(adapter()).modules.keys()


@pytest.mark.parametrize("name", ["model.safetensors", "adapter_model_old.safetensors", "sub/value_head.safetensors"])
def test_a_model_another_adapter_and_what_lies_in_a_folder_is_no_head(name):
    assert refusal({**adapter(), name: HEAD}).code == "adapter.extra_weights"


def test_a_head_is_no_head_where_it_holds_factors():
    assert refusal({**adapter(), "value_head.safetensors": adapter()[WEIGHTS]}).code == "adapter.extra_weights"


def test_a_head_is_checked_like_weights():
    assert refusal({**adapter(), "value_head.safetensors": HEAD[:-2]}).code == "safetensors.truncated"
    diverged = save({"v_head.weight": np.full((1, 4), np.nan, np.float32)})
    error = refusal({**adapter(), "value_head.safetensors": diverged})
    assert (error.code, error.facts["file"]) == ("adapter.not_finite", "value_head.safetensors")


def test_norms_of_an_extracted_lora_are_whole_layers():
    names = ("model.layers.0.input_layernorm.weight", "model.norm.weight")
    norms = {f"{PREFIX}{name}": np.ones(32, np.float32) for name in names}
    facts = validate(adapter({**tensors(), **norms}))
    (reason,) = facts.needs_base
    assert reason["code"] == "full_weights"
    assert "model.layers.0.input_layernorm" in reason["reason"]


def test_a_matrix_or_another_vector_is_no_norm():
    for name, value in (("model.norm.weight", np.ones((2, 2))), ("model.gate.weight", np.ones(4))):
        files = adapter({**tensors(), f"{PREFIX}{name}": value.astype(np.float32)})
        assert refusal(files).code == "adapter.tensor_unknown"
