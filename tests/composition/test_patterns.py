"""The lint for regular expressions: what people write passes, what may run for ever does not, and it keeps its word."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError
from composition.formats.peft import patterns

HOSTILE = [
    "(a+)+x",
    "(a|a)*b",
    "(a|ab)*c",
    ".*" * 8,
    "(a?)+b",
    "(?:a|b|)*c",
    "(?i)(a+A)*b",
    r"(.+\.)*x",
    "(a*)*",
    "((a+)?)*",
]
HOSTILE += [r"(\w+\w+\.)*", "(a?){30}a{30}", "(?:(?:a+b?)+)+", r"(a)\1*", "(x+x+)+y", "(?=(a+)+)b", "([a-z]+)*[0-9]"]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_patterns_that_may_run_for_ever_are_refused(pattern):
    with pytest.raises(CompositionError) as caught:
        patterns.check_pattern(pattern, field="target_modules")
    assert caught.value.code == "config.regex"
    assert caught.value.facts["field"] == "target_modules"


UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
    r"(?:k_proj|v_proj|q_proj|out_proj|fc1|fc2|o_proj|gate_proj|up_proj|down_proj).*?)|"
    r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp)\.(?:(?:k_proj|v_proj|q_proj)))"
)


@pytest.mark.parametrize(
    "pattern",
    [
        UNSLOTH,
        r".*\.(q_proj|v_proj)$",
        r"(\w+\.)*q_proj",
        r"^(?!.*vision).*(?:q_proj|k_proj|v_proj).*$",
        r"model\.layers\.\d+\.(?:self_attn|mlp)\.(?:q|k)_proj",
        r"model\.layers\.(1[0-9]|2[0-7])\..*_proj",
        r".*language_model.*\.(up_proj|down_proj|gate_proj)",
    ],
)
def test_patterns_that_people_write_pass(pattern):
    patterns.check_pattern(pattern, field="target_modules")


@pytest.mark.filterwarnings("ignore::FutureWarning")
@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab.*+?()|[]^$\\{}12,:=!iw"), max_size=14))
def test_what_passes_the_lint_is_quick(pattern):
    """Whatever the lint lets through runs on a hostile name within the budget it promises."""
    try:
        patterns.check_pattern(pattern, field="target_modules")
    except CompositionError as error:
        assert error.code == "config.regex"
        return
    for name in ("a" * 60 + "!", "ab" * 30 + "!", "a." * 30 + "!"):
        start = time.process_time()
        re.fullmatch(pattern, name)
        assert time.process_time() - start < 2


def test_together_patterns_have_a_budget_too():
    one = "x?[a-z]*y[a-z]*z[a-z]*w[a-z]*"
    patterns.check_pattern(one, field="rank_pattern")
    patterns.check_total([one] * 3, field="rank_pattern")
    with pytest.raises(CompositionError) as caught:
        patterns.check_total([one] * 100, field="rank_pattern")
    assert caught.value.code == "config.regex"


def test_a_longer_name_makes_a_pattern_dearer():
    expression = [("target_modules", ".*a.*b.*c.*d")]
    patterns.check_names(expression, 80)
    with pytest.raises(CompositionError, match="512 characters"):
        patterns.check_names(expression, 512)


def test_the_time_of_an_upload_ends():
    with pytest.raises(CompositionError) as caught:
        patterns.Budget(seconds=-1).spend()
    assert caught.value.code == "config.regex"
