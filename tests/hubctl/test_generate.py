"""`hubctl generate` and `hubctl generator`: local files and folders become documents and datasets of the hub."""

import pytest

from hub.models import Job, Repository
from hub.services.content.manifest import manifest_of
from hub.storage import blobs
from hubctl.corpus import LONGEST_ROW, write_rows
from hubctl.errors import Refused
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)
GO = ("--base", "pico/llama", "--to", "ada/doc")


@pytest.fixture
def base(ada):
    return factories.make_base()


@pytest.fixture
def generator(ada, base):
    return factories.make_generator(ada, base=base)


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    for number in range(20):
        (folder / f"{number:02}.txt").write_text(f"Text {number}.\n")
    (folder / "deep" / "more.md").write_text("# More\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


def test_texts_become_a_generation(hubctl, signed_in, generator, tmp_path):
    for name, data in (("a.txt", b"Words."), ("b.md", b"# More words")):
        (tmp_path / name).write_bytes(data)
    given = ["generate", *GO, "--context", tmp_path / "a.txt", "--context", tmp_path / "b.md", "--keep-state"]
    queued = hubctl(*given, "--window", 32, "--json")
    assert queued.code == 0, queued.err
    assert [file["name"] for file in queued.json["files"]] == ["a.txt", "b.md"]
    assert (queued.json["recipe"]["window"], queued.json["keep"]) == (32, ["state"])
    assert queued.json["others"] == {"generator": "ada/gen@v1"}
    assert Job.objects.get().output_visibility == "private"
    checked = hubctl(*given, "--check", "--public")
    assert "fits: rank 4" in checked.out and "result public" in checked.out and "read out of it" in checked.out


def test_bad_texts_are_refused_by_name(hubctl, signed_in, generator, tmp_path):
    cases = {"e.txt": b"", "l.txt": "Straße".encode("latin-1"), "x.docx": b"PK\x03\x04", "b.pdf": b"%PDF-1.4 x"}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        refused = hubctl("generate", *GO, "--context", tmp_path / name)
        assert (refused.code, name in refused.err) == (1, True), refused.err
    assert hubctl("generate", *GO).code == 1
    assert hubctl("generate", *GO, "--context", tmp_path / "none").code == 1
    assert not Job.objects.exists()


def test_without_a_generator_it_says_how_to_train_one(hubctl, signed_in, base, tmp_path):
    (tmp_path / "a.txt").write_text("Words.")
    refused = hubctl("generate", *GO, "--context", tmp_path / "a.txt")
    assert refused.code == 1
    assert "hubctl generator train --base pico/llama" in refused.err


def test_a_folder_becomes_a_private_dataset_to_train_on(hubctl, signed_in, base, corpus):
    given = ["generator", "train", "--base", "pico/llama", "--text", corpus, "--to", "ada/gen", "--steps", 3]
    queued = hubctl(*given, "--json")
    assert queued.code == 0, queued.err
    assert (queued.json["datasets"], queued.json["recipe"]["steps"]) == (["datasets/ada/gen-text@v1"], 3)
    dataset = Repository.objects.get(name="gen-text")
    assert (dataset.kind, dataset.visibility) == ("dataset", "private")
    version = dataset.versions.get()
    assert (version.facts["splits"], version.facts["kinds"]) == ({"train": 21}, {"train": "text"})
    with blobs.open(manifest_of(version.revisions.get())["train.jsonl"].sha256) as rows:
        assert rows.readline() == b'{"text": "Text 0.\\n"}\n'
    assert hubctl(*given, "--json").json["datasets"] == ["datasets/ada/gen-text@v1"]
    assert hubctl("generator", "train", "--base", "pico/llama", "--text", "none/", "--to", "ada/gen").code == 1


def test_generators_are_pushed_listed_and_pulled(hubctl, signed_in, base, tmp_path):
    folder = tmp_path / "gen"
    folder.mkdir()
    for name, data in factories.generator_files().items():
        (folder / name).write_bytes(data)
    assert hubctl("push", folder, "ada/gen", "--kind", "generator").code == 0
    assert "ada/gen  v1      pico/llama  4" in hubctl("generator", "list").out
    assert hubctl("pull", "ada/gen@v1", "-o", tmp_path / "out").code == 0
    weights = (tmp_path / "out" / "generator.safetensors").read_bytes()
    assert weights == factories.generator_files()["generator.safetensors"]


def test_long_texts_are_cut_at_a_paragraph_and_bad_ones_named(tmp_path):
    text = ("word " * 100 + "\n\n") * 700
    (tmp_path / "long.txt").write_text(text)
    rows = tmp_path / "rows.jsonl"
    assert write_rows([tmp_path / "long.txt"], rows) == -(-len(text) // LONGEST_ROW)
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match=r"bad\.txt is not UTF-8"):
        write_rows([tmp_path / "bad.txt"], rows)
