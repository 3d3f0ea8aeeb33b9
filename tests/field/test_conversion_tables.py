"""The written table of conversions is what the installed peft and transformers do, and the applied rules are theirs."""

import json

import peft
import pytest
import transformers

from composition.formats.peft.conversions import TABLE, experts_for, rules_for
from composition.running.conversion_tables import _classes, _rules_of_class, experts_of, rules_of
from tests.field.generated import BASES
from tests.field.pico_bases import config, kept_shapes, model, shapes

REMADE = "python -m composition.running.conversion_tables > composition/formats/peft/conversions.json"


def test_the_table_is_of_the_installed_releases():
    made_with = json.loads(TABLE.read_text())["made_with"]
    assert made_with == {"peft": peft.__version__, "transformers": transformers.__version__}, REMADE


def test_every_model_type_has_the_rules_that_hold_for_it():
    assert json.loads(TABLE.read_text())["types"].keys() == _classes().keys(), REMADE
    for model_type in _classes():
        assert rules_for(model_type, None) == _rules_of_class(model_type, ""), f"{model_type}: {REMADE}"
        assert experts_for(model_type) == experts_of(model_type)
    assert rules_for("llama", "LlamaForCausalLM") is None


@pytest.mark.parametrize("base", BASES)
def test_a_base_of_the_field_cases_gets_its_own_rules(base):
    fields = config(base)
    assert rules_for(fields["model_type"], fields["architectures"][0]) == rules_of(model(base, meta=True)), REMADE


@pytest.mark.parametrize("base", BASES)
def test_what_names_and_config_say_of_a_base_is_what_its_modules_are(base):
    told, known = kept_shapes(base).layout, shapes(base).layout
    assert set(known.kinds) <= set(told.kinds) | set(told.others)
    bare = {f"{owner}.{own}" for owner, parameters in known.others.items() for own in parameters}
    assert set(told.kinds) - set(known.kinds) <= set(known.others) | bare  # a name doesn't tell these from a module's
    assert set(told.others) <= set(known.others) | set(known.kinds)
    assert told.experts == known.experts
    assert told.heads >= known.heads
