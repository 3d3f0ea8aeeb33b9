"""Folders as people really have them, and what the door says of each: one row a case, `CASES.md` says after whom.

A row is (case, base, verdict, code, what). `verdict` is "accepted" or "refused"; `code` is the refusal's code, or for
an accepted case the reason code that keeps it from being merged ("" where it merges); every text of `what` stands in
the message, or in one of the warnings. Rows may repeat a case on another base.
"""

import json
from functools import cache
from pathlib import Path

import pytest

from composition.base_models import module_shapes
from composition.errors import CompositionError
from composition.formats.validate import local_files, validate_adapter

HERE = Path(__file__).parent

NAMES = [
    ("c06b_gemma3_transformers452", "gemma3", "accepted", "", ()),
    ("c07_unsloth_vision_regex", "gemma3", "accepted", "", ()),
    ("c07b_unsloth_regex_2026", "gemma3", "accepted", "", ()),
    ("c07c_swift_lookahead", "gemma3", "accepted", "", ()),
    ("c07e_llamafactory_negative", "gemma3", "accepted", "", ()),
    ("c07f_swift_rank_pattern", "gemma3", "accepted", "", ()),
    ("c09c_vllm_moe_per_expert_attn_only", "mixtral", "accepted", "", ()),
    ("c10_target_parameters", "mixtral", "accepted", "target_parameters", ()),
    ("c13_zero3_empty", "llama", "refused", "adapter.empty_tensor", ()),
    ("c13b_zero3_no_tensor", "llama", "refused", "adapter.no_factors", ()),
    ("c15_null_targets", "llama", "refused", "config.field", ()),
    ("c16_fp8", "llama", "refused", "adapter.dtype", ()),
    ("c17_seq_cls_score", "llama", "accepted", "modules_to_save", ()),
    ("c20_remote_code_auto_mapping", "llama", "refused", "config.code", ()),
    ("c21_mixed_dtype", "llama", "accepted", "", ("mix dtypes",)),
    ("c22_dora_no_weight_suffix", "llama", "accepted", "dora", ()),
    ("c24_all_linear_kept", "llama", "accepted", "", ()),
    ("c25_layers_to_transform", "llama", "accepted", "", ()),
    ("c25b_exclude", "llama", "accepted", "", ()),
    ("c26_trainable_tokens", "llama", "accepted", "trainable_tokens", ()),
    ("c27_bias_lora_only", "qwen2-tied", "accepted", "bias", ()),
    ("n01_whisper", "whisper", "accepted", "", ("8 modules that target_modules picks have no factors",)),
    ("n02_t5", "t5", "refused", "adapter.target_missing", ("names v",)),
    ("n02b_t5", "t5", "accepted", "", ("2 modules that target_modules picks have no factors",)),
    ("n03_bert_cls", "bert", "accepted", "modules_to_save", ()),
    ("v_gemma3_new", "gemma3", "accepted", "", ()),
    ("v_llava_new", "llava", "accepted", "", ()),
    ("v_qwen25vl_new", "qwen25vl", "accepted", "", ()),
    ("v_qwen2vl_new", "qwen2vl", "accepted", "", ()),
    ("v_qwen3vl_new", "qwen3vl", "accepted", "", ()),
]
"""Names, shapes and matching."""


@cache
def shapes(base: str):
    """The shapes of one of `bases`."""
    return module_shapes(json.loads((HERE / "bases" / f"{base}.json").read_text()))


@pytest.mark.parametrize(
    ("case", "base", "verdict", "code", "what"), NAMES, ids=[f"{row[0]}-{row[1]}" for row in NAMES]
)
def test_the_door_says_what_is_right(case, base, verdict, code, what):
    try:
        facts = validate_adapter(local_files(HERE / "cases" / case), base_shapes=shapes(base))
    except CompositionError as refusal:
        said = ("refused", refusal.code)
        text = refusal.message
    else:
        reasons = [entry["code"] for entry in facts.needs_base]
        said = ("accepted", code if code in reasons else ",".join(reasons))
        text = "\n".join(facts.warnings)
    assert said == (verdict, code), text
    for expected in what:
        assert expected in text
