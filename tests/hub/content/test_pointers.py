"""Git's view of stored files is what git itself says: `git check-attr`, `git hash-object`."""

import io
import subprocess

import pytest

from hub.models import Blob
from hub.services.commits.attributes import DEFAULT, DEFAULT_ATTRIBUTES, FILE, LARGE, parse, stored_as_lfs
from hub.services.content import pointers
from hub.services.content.manifest import Entry
from hub.storage import blobs

RULES = """
# comment filter=lfs
*.bin filter=lfs diff=lfs merge=lfs -text
*.txt text
data/*.csv filter=lfs
/top.md filter=lfs
deep/**/x.json filter=lfs
folder/** filter=lfs
**/any/*.dat filter=lfs
[ab]?.log filter=lfs
*.keep.bin -filter
other.bin filter=other
notes*.bin !filter
small filter=lfs -filter
"""
PATHS = """
a.bin b/c.bin x.txt data/a.csv data/b/a.csv other/data/a.csv top.md b/top.md deep/x.json deep/a/b/x.json a/deep/x.json
folder/a folder/a/b folder sub/folder/a any/a.dat a/b/any/c.dat any/b/c.dat a1.log z/b2.log c3.log b22.log q.keep.bin
z/other.bin notes1.bin small plain README.md A.BIN
""".split()


def git(folder, *arguments: str, **more) -> str:
    run = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, **more)
    return run.stdout.decode()


@pytest.mark.parametrize("text", [RULES.encode(), DEFAULT], ids=["every form", "default"])
def test_patterns_match_what_git_says(text, tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / FILE).write_bytes(text)
    paths = [*PATHS, "w.safetensors", "runs/tfevents.1", "a.tar.gz", "saved_model/x/y", "saved_model/z", "m.gguf"]
    said = git(tmp_path, "check-attr", "filter", "--", *paths).splitlines()
    rules = parse(text)
    assert {path: rules.is_lfs(path) for path in paths} == {
        path: line.endswith(": lfs") for path, line in zip(paths, said, strict=True)
    }


def test_a_large_file_is_lfs_whatever_its_name_and_an_empty_one_never():
    assert stored_as_lfs("rows.jsonl", LARGE, DEFAULT_ATTRIBUTES)
    assert not stored_as_lfs("rows.jsonl", LARGE - 1, DEFAULT_ATTRIBUTES)
    assert stored_as_lfs("w.safetensors", 1, DEFAULT_ATTRIBUTES)
    assert not stored_as_lfs("w.safetensors", 0, DEFAULT_ATTRIBUTES)


def test_hostile_attributes_cost_little():
    stars = "*a" * 400 + "b filter=lfs\n" + "**/" * 300 + "x filter=lfs\n"
    assert not parse(stars.encode() * 200).is_lfs("/".join(["a" * 200] * 5))
    assert parse(b"\xff\xfe\x00 filter=lfs\n*.x filter=lfs").is_lfs("a.x")


@pytest.mark.django_db
def test_ids_are_gits(tmp_path, store):
    data = {"README.md": b"# card\n", "w.safetensors": b"weights", "empty.bin": b""}
    manifest = {path: Entry(*blobs.put(io.BytesIO(value))) for path, value in data.items()}
    Blob.objects.bulk_create(Blob(sha256=entry.sha256, size=entry.size) for entry in manifest.values())
    files = pointers.git_files(manifest)
    for path, value in data.items():
        kept = pointers.pointer(manifest[path]) if path == "w.safetensors" else value
        said = git(tmp_path, "hash-object", "--stdin", input=kept).strip()
        assert files[path].oid == said
    assert files["w.safetensors"].is_lfs
    assert files["w.safetensors"].etag == manifest["w.safetensors"].sha256
    assert files["README.md"].etag == files["README.md"].oid == pointers.git_oid(manifest["README.md"])
    blobs.delete(manifest["README.md"].sha256)
    assert pointers.git_files(manifest) == files  # kept with the row, not read again


@pytest.mark.django_db
def test_a_revision_s_own_attributes_decide(store):
    own = Entry(*blobs.put(io.BytesIO(b"*.md filter=lfs\n")))
    Blob.objects.create(sha256=own.sha256, size=own.size)
    attributes = pointers.attributes_of({FILE: own})
    assert attributes.is_lfs("README.md")
    assert not attributes.is_lfs("w.safetensors")
