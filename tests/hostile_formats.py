"""Hostile safetensors headers and adapter configs, for the corpus in `hostile`: (name, files, code)."""

import json
from collections.abc import Iterator

from tests.uploads import CONFIG, adapter, entry, raw

Rows = Iterator[tuple[str, dict[str, bytes], str]]


def headers() -> Rows:
    """One weights file whose header is not to be trusted."""
    four, good = b"\0" * 4, entry()
    bad: dict[str, tuple[bytes, str]] = {
        "seven bytes": (b"\0" * 7, "truncated"),
        "header longer than the file": (raw({}, length=1000), "truncated"),
        "header of 100 MB": (raw({}, length=100_000_000), "header_too_large"),
        "header of 2^63": (raw({}, length=2**63), "header_too_large"),
        "leading space": (raw(b' {"a": 1}'), "not_json"),
        "an array": (raw(b"[]"), "not_json"),
        "no header": (raw(b""), "not_json"),
        "broken json": (raw(b'{"a":'), "json"),
        "not utf-8": (raw(b'{"\xff": 1}'), "json"),
        "lone surrogate": (raw(b'{"\\ud800": 1}'), "json"),
        "two documents": (raw(b"{}{}"), "json"),
        "deeply nested": (raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "json"),
        "huge integer": (raw(b'{"a": ' + b"9" * 5000 + b"}"), "json"),
        "duplicate tensor": (raw(b'{"a": %b, "a": %b}' % ((json.dumps(good).encode(),) * 2), four), "duplicate_key"),
        "duplicate inside": (raw(b'{"a": {"dtype": "F32", "dtype": "F16"}}'), "duplicate_key"),
        "NaN": (raw(b'{"a": NaN}'), "not_finite"),
        "1e999": (raw(b'{"a": 1e999}'), "not_finite"),
        "metadata not text": (raw({"__metadata__": {"a": 1}}), "metadata"),
        "metadata no object": (raw({"__metadata__": "x"}), "metadata"),
        "metadata of 100 KB": (raw({"__metadata__": {"a": "x" * 100_000}}), "metadata"),
        "60,000 tensors": (raw({f"{i}": entry(0, 0, [0]) for i in range(60_000)}), "too_many_tensors"),
        "name with NUL": (raw({"a\0b": good}, four), "name"),
        "empty name": (raw({"": good}, four), "name"),
        "name of 600": (raw({"a" * 600: good}, four), "name"),
        "no dtype": (raw({"a": {"shape": [1], "data_offsets": [0, 4]}}, four), "entry"),
        "extra key": (raw({"a": {**good, "x": 1}}, four), "entry"),
        "entry is a list": (raw({"a": [1]}), "entry"),
        "unknown dtype": (raw({"a": entry(dtype="Q4")}, four), "dtype"),
        "dtype is a list": (raw({"a": entry(dtype=["F32"])}, four), "dtype"),
        "negative dimension": (raw({"a": entry(shape=[-1])}, four), "shape"),
        "true as dimension": (raw({"a": entry(shape=[True])}, four), "shape"),
        "float dimension": (raw({"a": entry(shape=[1.0])}, four), "shape"),
        "nine dimensions": (raw({"a": entry(shape=[1] * 9)}, four), "shape"),
        "shape overflows": (raw({"a": entry(shape=[2**40, 2**40])}, four), "size"),
        "shape wraps to zero": (raw({"a": entry(0, 0, [2**62, 4])}), "size"),
        "end before begin": (raw({"a": entry(4, 0)}, four), "offsets"),
        "negative begin": (raw({"a": entry(-4, 0)}, four), "offsets"),
        "three offsets": (raw({"a": {**good, "data_offsets": [0, 4, 8]}}, four), "offsets"),
        "too few bytes for shape": (raw({"a": entry(shape=[2])}, four), "size"),
        "overlap": (raw({"a": good, "b": entry(2, 6)}, b"\0" * 6), "layout"),
        "alias": (raw({"a": good, "b": good}, four), "layout"),
        "gap": (raw({"a": good, "b": entry(8, 12)}, b"\0" * 12), "layout"),
        "gap at the start": (raw({"a": entry(4, 8)}, b"\0" * 8), "layout"),
        "cut in the data": (raw({"a": good}, b"\0" * 3), "truncated"),
        "trailing bytes": (raw({"a": good}, four + b"PK\x05\x06"), "trailing"),
    }
    for name, (data, code) in bad.items():
        yield name, adapter(data), f"safetensors.{code}"


def configs() -> Rows:
    """One config that is ambiguous, asks for code, or makes no sense."""
    for name, data, code in (
        ("broken json", b"{", "json"),
        ("a list", b"[]", "json"),
        ("duplicate key", b'{"peft_type": "LORA", "r": 4, "r": 8}', "duplicate_key"),
        ("NaN", b'{"peft_type": "LORA", "lora_alpha": NaN}', "not_finite"),
        ("300 KB", b'{"peft_type": "LORA", "x": "%b"}' % (b"x" * 300_000), "too_large"),
        ("nested", b'{"a":' * 50_000, "json"),
    ):
        yield name, {**adapter(), CONFIG: data}, f"config.{code}"
    fields: list[tuple[dict[str, object], str]] = [
        ({"peft_type": ...}, "peft_type"),
        ({"peft_type": "BONE"}, "peft_type"),
        ({"peft_type": ["LORA"]}, "peft_type"),
        ({"peft_type": "XLORA"}, "peft_type"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "code"),
        ({"auto_mapping": {"parent_library": "os", "base_model_class": "system"}}, "code"),
        ({"auto_mapping": {"parent_library": "transformers_evil"}}, "code"),
        ({"auto_mapping": "os"}, "code"),
        ({"x": {"_attn_implementation_internal": "evil/kernel"}}, "code"),
        ({"x": [{"trust_remote_code": True}]}, "code"),
        ({"megatron_core": "evil.core"}, "code"),
        ({"task_type": "EVIL"}, "field"),
        ({"base_model_name_or_path": 5}, "field"),
        ({"base_model_name_or_path": "a\nb"}, "field"),
        ({"bias": "some"}, "field"),
        ({"use_rslora": "yes"}, "field"),
        ({"use_dora": 1}, "field"),
        ({"lora_dropout": 1.5}, "field"),
        ({"init_lora_weights": "mystery"}, "field"),
        ({"init_lora_weights": "pissa_niter_x"}, "field"),
        ({"target_modules": None}, "field"),
        ({"target_modules": ""}, "field"),
        ({"target_modules": [1]}, "field"),
        ({"target_modules": {"q_proj": 1}}, "field"),
        ({"modules_to_save": "score"}, "field"),
        ({"layers_to_transform": ["1"]}, "field"),
        ({"layers_to_transform": -1}, "field"),
        ({"layers_pattern": "layers"}, "field"),
        ({"target_modules": ".*q_proj", "layers_to_transform": [1]}, "field"),
        ({"target_parameters": "experts.w"}, "field"),
        ({"rank_pattern": None}, "field"),
        ({"rank_pattern": ["q_proj"]}, "field"),
        ({"kasa_config": "yes"}, "field"),
        ({"target_modules": "(a+)+x"}, "regex"),
        ({"target_modules": "(unclosed"}, "regex"),
        ({"target_modules": "q" * 2000}, "regex"),
        ({"exclude_modules": "(a|a)*b"}, "regex"),
        ({"modules_to_save": ["(.+)*x"]}, "regex"),
        ({"rank_pattern": {"(x*)*y": 2}}, "regex"),
        ({"alpha_pattern": {"a)|(b": 2}}, "regex"),
    ]
    for name in ("r", "lora_alpha"):
        fields += [({name: wrong}, "field") for wrong in (0, -1, "8", None, True, [8])]
        pattern = {"r": "rank_pattern", "lora_alpha": "alpha_pattern"}[name]
        fields += [({pattern: {"q_proj": wrong}}, "field") for wrong in (0, -2, "4", None, False)]
    fields += [
        ({"r": 4.0}, "field"),
        ({"rank_pattern": {"": 4}}, "field"),
        ({"rank_pattern": {"q_proj": 2.5}}, "field"),
    ]
    for changes, code in fields:
        yield json.dumps({k: str(v)[:30] for k, v in changes.items()}), adapter(**changes), f"config.{code}"
