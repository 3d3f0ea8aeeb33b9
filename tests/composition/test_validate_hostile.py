"""Every hostile upload is refused with its own code, names what is wrong, and the good ones pass."""

import re
from pathlib import Path

import pytest

from composition import formats
from composition.errors import CompositionError
from composition.formats.validate import MemoryFile, validate_adapter, validate_dataset
from tests import hostile, uploads

FOLDER = Path(formats.__file__).parent
READERS = ("read.py", "save.py", "__init__.py")  # these have their own tests
CASES = list(hostile.cases())
NO_CODES = {"adapter.gguf", "adapter.type"}  # a file's name, and a key of its metadata


def sources(files):
    return {name: MemoryFile(data) for name, data in files.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_with_its_code(case):
    files, shapes = sources(case.files), uploads.SHAPES if case.base else None
    with pytest.raises(CompositionError) as caught:
        validate_dataset(files) if case.kind == "dataset" else validate_adapter(files, base_shapes=shapes)
    assert caught.value.code == case.code, caught.value.message
    assert len(caught.value.message) < 1500
    assert caught.value.message.isprintable()


def test_the_good_ones_pass():
    facts = validate_adapter(sources(uploads.adapter()), base_shapes=uploads.SHAPES)
    assert facts.needs_base == []
    assert facts.warnings == []
    assert validate_dataset(sources(uploads.dataset())).splits == {"test": 1}


def test_every_code_has_a_case():
    """A code that no case provokes would be a promise nobody checks."""
    source = "".join(path.read_text() for path in FOLDER.rglob("*.py") if path.name not in READERS)
    promised = set(re.findall(r'"((?:adapter|dataset|config|content|path|safetensors)\.[a-z_]+)"', source))
    for helper, area in ((r"self\.(?:tensor_)?error", "safetensors"), ("_refusal", "adapter"), ("_path", "path")):
        promised |= {f"{area}.{code}" for code in re.findall(rf'{helper}\(\s*"([a-z_]+)"', source)}
    promised |= {f"content.{code}" for code in re.findall(r'_content\(\s*"([a-z_]+)"', source)}
    promised |= {f"dataset.{code}" for code in re.findall(r'_row\(path, \w+, "([a-z_]+)"', source)}
    assert len(promised) > 60
    assert promised - {case.code for case in CASES} == NO_CODES


def test_the_page_lists_every_code_and_no_other():
    """`.name` in a row of docs/formats.md stands for the area of the row's first code. The others, which no upload
    provokes, are in `test_codes_in_docs.py`.
    """
    listed = set()
    page = (FOLDER.parent.parent / "docs" / "formats.md").read_text()
    for line in page.partition("### When it is read or written")[0].splitlines():
        area = ""
        for code in re.findall(r"`([a-z]*\.[a-z_]+)`", line.split("|")[1]) if line.startswith("| `") else ():
            area = code.partition(".")[0] or area
            listed.add(f"{area}.{code.partition('.')[2]}")
    of_mixtures = {"assembly.config", "assembly.tensors"}  # whose cases stand in test_assembly_files.py
    of_generators = {code for code in listed if code.startswith("generator.")}  # and in test_generator_files.py
    assert listed - of_mixtures - of_generators == {case.code for case in CASES}
    assert listed >= of_mixtures
    source = "".join((FOLDER / "generator" / f"{name}.py").read_text() for name in ("config", "files"))
    no_code = {"generator.safetensors", "generator.base_layers"}  # a file; the recipe's, before there is a generator
    strict = {f"generator.{code}" for code in ("json", "duplicate_key", "not_finite")}
    assert of_generators == set(re.findall(r'"(generator\.[a-z_]+)"', source)) - no_code | strict
