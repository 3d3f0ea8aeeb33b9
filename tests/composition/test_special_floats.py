"""Infinity and NaN in a base's config, in both spellings; nowhere else."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composition.base_models import module_shapes
from composition.errors import CompositionError
from composition.formats.special_floats import tagged, untagged
from composition.formats.strict_json import strict_loads
from hubctl.requests import storable

BASES = Path(__file__).parents[1] / "field" / "bases"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_tags_are_json_and_come_back(value):
    text = json.dumps(tagged(value), allow_nan=False)
    assert repr(untagged(json.loads(text))) == repr(value)


@given(VALUES)
def test_the_client_writes_the_same_tags(value):
    assert repr(storable(value)) == repr(tagged(value))


@given(VALUES)
def test_the_tags_are_those_of_transformers(value):
    from transformers import PretrainedConfig

    assert repr(PretrainedConfig._encode_special_floats(value)) == repr(tagged(value))
    assert repr(PretrainedConfig._decode_special_floats(tagged(value))) == repr(untagged(tagged(value)))


@pytest.mark.parametrize("name", ["mamba2", "mamba2_v5", "mamba2_1e30"])
def test_a_base_with_infinity_has_its_shapes_in_both_spellings(name):
    config = json.loads((BASES / f"{name}.json").read_text())
    assert len(module_shapes(config)) == 8
    assert module_shapes(tagged(config)) == module_shapes(config)


def test_strict_json_reads_infinity_of_a_base_only():
    data = b'{"a": [0.0, Infinity, -Infinity, NaN]}'
    read = strict_loads(data, area="base", what="config.json", of_a_base=True)
    assert untagged(read)["a"][1:3] == [math.inf, -math.inf]
    assert json.dumps(read, allow_nan=False)
    with pytest.raises(CompositionError, match="Infinity is not a JSON number"):
        strict_loads(data, area="config", what="adapter_config.json")
    with pytest.raises(CompositionError, match="too large"):
        strict_loads(b'{"a": 1e999}', area="base", what="config.json", of_a_base=True)


def test_a_count_of_layers_without_end_is_refused_in_both_spellings():
    config = json.loads((BASES / "mamba2.json").read_text())
    for layers in (math.inf, {"__float__": "Infinity"}):
        with pytest.raises(CompositionError, match="num_hidden_layers = inf"):
            module_shapes({**config, "num_hidden_layers": layers})
