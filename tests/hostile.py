"""A corpus of uploads that must be refused, each with the code it must be refused with.

    for case in hostile.cases(): case.name, case.kind, case.files {path: bytes}, case.code

Adapters are made for the base of `uploads.PICO_CONFIG`, so that a case fails for its own reason and no other.
"""

import gzip
import pickle
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.hostile_formats import Rows, configs, headers
from tests.uploads import (
    CONFIG,
    GOOD_ROW,
    PREFIX,
    Q0,
    TARGETS,
    WEIGHTS,
    adapter,
    bfloat16_nan,
    changed,
    config,
    dataset,
    rows,
    tar_bytes,
    tensors,
    zip_bytes,
)

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 4096\n"


class Call:
    """What a pickle of it calls when it is loaded."""

    def __reduce__(self):
        return print, ("loaded",)


@dataclass(frozen=True)
class Case:
    """An upload of `kind` ("adapter", "dataset") to be refused with `code`; `base` where only a base shows it."""

    name: str
    kind: str
    files: dict[str, bytes]
    code: str
    base: bool = False


def cases() -> Iterator[Case]:
    """All cases, cheapest first."""
    for kind, make in (("path", paths), ("content", contents), ("header", headers), ("config", configs)):
        for name, files, code in make():
            yield Case(f"{kind}: {name}", "adapter", files, code)
    for name, files, code in adapters():
        yield Case(f"adapter: {name}", "adapter", files, code)
    for name, files, code in misfits():
        yield Case(f"misfit: {name}", "adapter", files, code, base=True)
    for name, files, code in datasets():
        yield Case(f"dataset: {name}", "dataset", files, code)


def paths() -> Rows:
    """A good adapter next to one file with a bad name."""
    bad = {
        "": "empty",
        "../evil.txt": "segment",
        "a/../../evil.txt": "segment",
        "./a.txt": "segment",
        "a//b.txt": "segment",
        "a/": "segment",
        "/etc/passwd.txt": "absolute",
        "a\\b.txt": "character",
        "a\x00b.txt": "control",
        "a\nb.txt": "control",
        "a\u202egpj.txt": "control",
        "cafe\u0301.txt": "not_nfc",
        ".git/config.txt": "reserved",
        "sub/.GIT/x.txt": "reserved",
        ".cache/huggingface/x.txt": "reserved",
        "con.txt": "segment",
        "dot./x.txt": "segment",
        " lead.txt": "segment",
        "n" * 252 + ".txt": "too_long",
        "/".join(["d" * 100] * 11) + ".txt": "too_long",
    }
    for name, code in bad.items():
        yield repr(name[:40]), {**adapter(), name: b"x"}, f"path.{code}"
    yield "2,001 files", {**adapter(), **{f"{i}.txt": b"" for i in range(2001)}}, "path.too_many"
    yield "letter case", {**adapter(), "README.md": b"x", "readme.md": b"y"}, "path.collision"
    yield "folder case", {**adapter(), "Doc/a.txt": b"x", "doc/b.txt": b"y"}, "path.collision"
    yield "file and folder", {**adapter(), "doc.txt": b"x", "doc.txt/a.txt": b"y"}, "path.clash"


def contents() -> Rows:
    """A good adapter next to one file that no one should load."""
    page = b"<!DOCTYPE html><script>alert(1)</script>"
    bad = {
        "adapter_model.bin": (zip_bytes(), "pickle"),
        "old.pt": (pickle.dumps({"a": 1}, protocol=2), "pickle"),
        "training_args.bin": (zip_bytes(), "pickle"),
        "pytorch_model-00001-of-00002.bin": (b"inert", "pickle"),
        "value_head.bin": (b"inert", "pickle"),
        "x.pkl": (pickle.dumps([1.5, "text"], protocol=0), "pickle"),
        "y.pkl": (b"cos\nsystem\n(S'true'\ntR then nothing of a pickle", "pickle"),
        "noextension": (pickle.dumps(Call(), protocol=1), "pickle"),
        "n.exotic": (b"N0" * 600 + pickle.dumps(Call(), protocol=0), "pickle"),
        "renamed.json": (pickle.dumps({"a": 1}, protocol=4), "pickle"),
        "renamed.txt": (zip_bytes(), "zip"),
        "polyglot.md": (b"# Card\n" + zip_bytes(), "zip"),
        "a.zip": (b"", "archive"),
        "a.txt": (gzip.compress(b"x"), "archive"),
        "b.txt": (tar_bytes(), "archive"),
        "c.txt": (b"7z\xbc\xaf\x27\x1c" + b"\0" * 20, "archive"),
        "d.txt": (b"Rar!\x1a\x07\x01\x00", "archive"),
        "e.txt": (b"\xfd7zXZ\x00" + b"\0" * 20, "archive"),
        "f.txt": (b"BZh91AY&SY", "archive"),
        "g.txt": (b"\x7fELF\x02\x01\x01", "executable"),
        "h.txt": (b"MZ\x90\x00", "executable"),
        "i.txt": (b"#!/bin/sh\n", "executable"),
        "modeling_evil.py": (b"import os", "code"),
        "run.sh": (b"echo", "code"),
        "page.html": (page, "active"),
        "j.txt": (b"  " + page, "active"),
        "k.svg": (b"<svg onload='x'/>", "active"),
        "l.json": (b"<?xml version='1.0'?>", "active"),
        "n.png": (POINTER, "lfs_pointer"),
        "o.json": (page, "web_page"),
        "p.gguf": (b"Entry not found", "answer"),
        "q.gguf": (b"\x01\x02\x03\x04" * 20, "mismatch"),
    }
    for name, (data, code) in bad.items():
        yield name, {**adapter(), name: data}, f"content.{code}"
    yield "image of 11 MB", {**adapter(), "big.png": b"\x89PNG\r\n\x1a\n" + b"\0" * 11_000_000}, "content.too_large"
    yield "code in config.json", {**adapter(), "config.json": b'{"auto_map": {"AutoModel": "x.Y"}}'}, "config.code"
    for name, data, code in (
        ("broken", b"{", "json"),
        ("twice", b'{"a": 1, "a": 2}', "duplicate_key"),
        ("NaN", b'{"a": NaN}', "not_finite"),
    ):
        yield f"{name} tokenizer_config.json", {**adapter(), "tokenizer_config.json": data}, f"content.{code}"
    yield "only a .bin", {CONFIG: config(), "adapter_model.bin": zip_bytes()}, "content.pickle"
    yield "pickle named safetensors", adapter(pickle.dumps({"a": 1}, protocol=2)), "content.pickle"
    yield "zip named safetensors", adapter(zip_bytes()), "content.zip"
    yield "empty weights", adapter(b""), "content.empty"


def adapters() -> Rows:
    """Well-formed files that are not a complete adapter."""
    half, b_name = np.float16, f"{PREFIX}{Q0}.lora_B.weight"
    yield "nothing", {"README.md": b"x"}, "adapter.file_missing"
    yield "no config", {WEIGHTS: adapter()[WEIGHTS]}, "adapter.file_missing"
    yield "no weights", {CONFIG: config()}, "adapter.file_missing"
    yield "in a folder", {f"out/{name}": data for name, data in adapter().items()}, "adapter.file_missing"
    yield "two weights", {**adapter(), "other.safetensors": adapter()[WEIGHTS]}, "adapter.extra_weights"
    yield "checkpoint", {**adapter(), f"checkpoint-1/{WEIGHTS}": adapter()[WEIGHTS]}, "adapter.extra_weights"
    yield "gguf beside", {**adapter(), "base.gguf": b"GGUF\x03\0\0\0"}, "adapter.extra_weights"
    yield "no tensor", adapter({}), "adapter.no_factors"
    yield "A without B", adapter(changed(lora_B=None)), "adapter.unpaired"
    yield "B without A", adapter(changed(lora_A=None)), "adapter.unpaired"
    yield (
        "rank of one module",
        adapter(changed(lora_A=np.ones((2, 32), half), lora_B=np.ones((32, 2), half))),
        "adapter.rank",
    )
    yield "rank of all", adapter(r=8), "adapter.rank"
    yield "rank_pattern", adapter(rank_pattern={"q_proj": 2}), "adapter.rank"
    yield "A and B of two ranks", adapter(changed(lora_A=np.ones((2, 32), half))), "adapter.factor_shape"
    yield "A of one dimension", adapter(changed(lora_A=np.ones(4, half))), "adapter.factor_shape"
    yield "integers", adapter(changed(lora_A=np.ones((4, 32), np.int8))), "adapter.dtype"
    for value, word in ((np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "minus infinity")):
        for kind in (np.float16, np.float32, np.float64):
            array = np.ones((4, 32), kind)
            array[3, 31] = value
            yield f"{word} in {kind.__name__}", adapter(changed(lora_A=array)), "adapter.not_finite"
    yield "NaN in bfloat16", adapter(bfloat16_nan()), "adapter.not_finite"
    yield (
        "rank 0",
        adapter(changed(lora_A=np.ones((0, 32), half), lora_B=np.ones((32, 0), half))),
        "adapter.empty_tensor",
    )
    yield "target without tensors", adapter(target_modules=[*TARGETS, "k_proj"]), "adapter.target_missing"
    yield "tensors without target", adapter(target_modules=["q_proj"]), "adapter.target_unexpected"
    yield "regex without tensors", adapter(target_modules=r".*\.k_proj"), "adapter.target_unexpected"
    yield "excluded", adapter(exclude_modules=["layers.1.self_attn.q_proj"]), "adapter.target_unexpected"
    yield "other layers", adapter(layers_to_transform=[0]), "adapter.target_unexpected"
    yield (
        "whole weight",
        adapter({**tensors(), f"{PREFIX}{Q0}.weight": np.ones((2, 2), half)}),
        "adapter.tensor_unknown",
    )
    dora = {**tensors(), f"{PREFIX}{Q0}.lora_magnitude_vector": np.ones(32, half)}
    yield "magnitude without DoRA", adapter(dora), "adapter.tensor_unknown"
    yield "DoRA without magnitude", adapter(use_dora=True), "adapter.magnitude"
    yield (
        "one factor twice",
        adapter({**tensors(), b_name.removeprefix(PREFIX): tensors()[b_name]}),
        "adapter.tensor_twice",
    )
    two = {name.replace("lora_A", "lora_A.a").replace("lora_B", "lora_B.b"): value for name, value in tensors().items()}
    yield "two adapters in one", adapter(two), "adapter.tensor_unknown"
    bare = {name.removeprefix(PREFIX): array for name, array in tensors().items()}
    yield "without peft's prefix", adapter(bare), "adapter.names"
    one = {name.replace(".weight", ".sft.weight"): array for name, array in tensors().items()}
    yield "the adapter's name inside", adapter(one), "adapter.names"


def misfits() -> Rows:
    """Whole adapters of another base than the pico one."""
    half = np.float16
    yield "in", adapter(changed(lora_A=np.ones((4, 48), half))), "adapter.shape"
    yield "out", adapter(changed(lora_B=np.ones((48, 4), half))), "adapter.shape"
    yield (
        "layer 2",
        adapter({n.replace("layers.1", "layers.2"): a for n, a in tensors().items()}),
        "adapter.module_unknown",
    )
    other = {name.replace("model.layers", "transformer.h"): array for name, array in tensors().items()}
    yield "other names", adapter(other), "adapter.module_unknown"
    yield "a container", adapter(target_modules=[*TARGETS, "self_attn"]), "adapter.does_not_load"
    yield "a wrapper", adapter({f"_orig_mod.{name}": array for name, array in tensors().items()}), "adapter.names"


def datasets() -> Rows:
    """Datasets with rows, or files, that can't be used."""
    good = GOOD_ROW
    bad: dict[str, tuple[bytes, str]] = {
        "empty file": (b"", "no_rows"),
        "blank line": (rows(good, b"", good), "blank"),
        "not json": (rows(good, b"{"), "json"),
        "not utf-8": (rows(b'{"prompt": "\xff", "completion": "x"}'), "json"),
        "byte order mark": (b"\xef\xbb\xbf" + rows(good), "json"),
        "NaN": (rows(b'{"prompt": "a", "completion": "b", "x": NaN}'), "not_finite"),
        "duplicate key": (rows(b'{"prompt": "a", "prompt": "b", "completion": "c"}'), "duplicate_key"),
        "a list": (rows(["a", "b"]), "row"),
        "no completion": (rows({"prompt": "a"}), "row"),
        "prompt no text": (rows({"prompt": 1, "completion": "b"}), "row"),
        "empty completion": (rows({"prompt": "a", "completion": ""}), "row"),
        "one choice": (rows({**good, "choices": [" 4"]}), "choices"),
        "choices no list": (rows({**good, "choices": " 4"}), "choices"),
        "choices twice": (rows({**good, "choices": [" 4", " 4"]}), "choices"),
        "choices no text": (rows({**good, "choices": [" 4", 5]}), "choices"),
        "answer not among them": (rows({**good, "choices": [" 5", " 6"]}), "choices"),
        "70 columns": (rows({**good, **{f"c{i}": i for i in range(70)}}), "columns"),
        "row of 2 MB": (rows({**good, "x": "x" * 2_000_000}), "too_long"),
    }
    for name, (data, code) in bad.items():
        yield name, dataset(test=data), f"dataset.{code}"
    yield "no rows at all", {"README.md": b"x"}, "dataset.no_rows"
    yield "csv", {**dataset(), "more.csv": b"a,b"}, "dataset.extra_file"
    yield "one split twice", {"a/test.jsonl": rows(good), "b/test.jsonl": rows(good)}, "dataset.split_twice"
    yield "pickle", {**dataset(), "x.pkl": pickle.dumps([1], protocol=0)}, "content.pickle"
