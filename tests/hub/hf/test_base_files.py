"""A base's own files: who may push them, what is refused, and what the protocol shows of them."""

import hashlib
import io
import json

import numpy as np
import pytest
from django.test import Client
from safetensors.numpy import save

from composition.errors import CompositionError
from hub import queries
from hub.errors import HubError
from hub.models import BaseFile, Blob, Upload
from hub.services import base_files
from hub.services.content import uploads
from hub.services.content.collection import unreferenced
from tests.hub import factories
from tests.hub.hf.wire import Hf

pytestmark = pytest.mark.django_db
WEIGHTS = save({"model.embed_tokens.weight": np.zeros((4, 4), np.float32)})
FILES = {
    "config.json": json.dumps(factories.PICO_CONFIG).encode(),
    "model.safetensors": WEIGHTS,
    "tokenizer/vocab.txt": b"a\nb\n",
}


@pytest.fixture
def base(store):
    """`Pico/Llama` of the user `ada`."""
    return factories.make_base("Pico/Llama", created_by=factories.make_user("ada"))


def push(base, files, actor=None, **options):
    """Begin, send what is not there, commit."""
    upload = base_files.begin_base_upload(
        actor=actor or base.created_by, base=base, files=factories.promise(files), **options
    )
    for row in upload.files.filter(blob=None):
        uploads.append(upload=upload, path=row.path, offset=0, stream=io.BytesIO(files[row.path]))
    return base_files.commit_base_upload(actor=actor or base.created_by, upload=upload, **options)


def codes(base, files, **options):
    with pytest.raises((HubError, CompositionError)) as refused:
        push(base, files, **options)
    return refused.value.code


def get(path, **headers):
    return Client(raise_request_exception=False).get(path, headers=headers)


def test_a_push_says_which_files_the_base_has_and_sends_what_is_new(base):
    first = push(base, FILES)
    more = {**FILES, "README.md": b"# Llama\n"}
    del more["tokenizer/vocab.txt"]
    upload = base_files.begin_base_upload(actor=base.created_by, base=base, files=factories.promise(more))
    assert set(upload.files.filter(blob=None).values_list("path", flat=True)) == {"README.md"}
    second = push(base, more)
    assert set(second) == set(more) and queries.base_commit(first) != queries.base_commit(second)
    assert queries.base_commit(push(base, FILES)) == queries.base_commit(first)
    held = set(BaseFile.objects.values_list("blob", flat=True))
    assert held and not held & set(unreferenced().values_list("pk", flat=True))


def test_only_the_owner_and_administrators_push_and_a_commit_twice_is_one(base):
    assert codes(base, FILES, actor=factories.make_user("bob")) == "base.owner"
    push(base, FILES, actor=factories.make_user("root", is_staff=True))
    upload = Upload.objects.get()
    assert base_files.commit_base_upload(actor=base.created_by, upload=upload) == base_files.manifest_of_base(base)


def test_a_commit_that_comes_too_early_or_too_late_is_told_so(base):
    upload = base_files.begin_base_upload(actor=base.created_by, base=base, files=factories.promise(FILES))
    with pytest.raises(HubError) as early:
        base_files.commit_base_upload(actor=base.created_by, upload=upload)
    with pytest.raises(HubError) as other:
        uploads.commit_upload(actor=base.created_by, upload=upload)
    uploads.abandon_upload(actor=base.created_by, upload=Upload.objects.get())
    with pytest.raises(HubError) as late:
        base_files.commit_base_upload(actor=base.created_by, upload=upload)
    found = [refused.value.code for refused in (early, other, late)]
    assert found == ["upload.incomplete", "upload.other_kind", "upload.gone"]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"config.json": json.dumps({**factories.PICO_CONFIG, "hidden_size": 32}).encode()}, "base.config"),
        ({"model.safetensors": WEIGHTS[:-1]}, "safetensors."),
        ({"model.safetensors.index.json": b'{"weight_map": {"a": "model-00001.safetensors"}}'}, "base.incomplete"),
        ({"model.safetensors": b"\x80\x02}q\x00."}, "content."),
        ({"tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": "x.Y"}}'}, "config.code"),
        ({"model.safetensors": None}, "base.no_weights"),
    ],
)
def test_what_is_refused_leaves_the_base_as_it_was(base, changed, code):
    before = push(base, FILES)
    wrong = {path: data for path, data in {**FILES, **changed}.items() if data is not None}
    assert codes(base, wrong).startswith(code)
    assert base_files.manifest_of_base(base) == before


def test_bytes_count_for_the_owner_and_are_given_back(base, settings):
    size = sum(map(len, FILES.values()))
    settings.QUOTAS = {**settings.QUOTAS, "base_bytes": size}
    push(base, FILES)
    push(base, FILES | {"tokenizer/vocab.txt": b"c\nd\n"})
    assert codes(base, {**FILES, "README.md": b"# More\n"}) == "quota.base_bytes"
    other = factories.make_base("ada/other", created_by=base.created_by)
    assert codes(other, FILES) == "quota.base_bytes"


def test_the_protocol_shows_a_base_as_a_model(base):
    commit = queries.base_commit(push(base, FILES))
    for name in ("Pico/Llama", "pico/LLAMA"):
        said = get(f"/api/models/{name}?blobs=true").json()
        assert (said["id"], said["sha"], said["private"], said["gated"]) == ("Pico/Llama", commit, False, False)
        files = {row["rfilename"]: row for row in said["siblings"]}
        assert set(files) == set(FILES)
        assert files["model.safetensors"]["lfs"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    tree = get(f"/api/models/Pico/Llama/tree/{commit[:8]}?recursive=true&expand=true").json()
    assert {row["path"] for row in tree} == {*FILES, "tokenizer"}
    assert {row["lastCommit"]["id"] for row in tree} == {commit}
    assert get("/api/models/Pico/Llama/tree/main/nowhere").headers["X-Error-Code"] == "EntryNotFound"
    refs = get("/api/models/Pico/Llama/refs").json()
    assert refs["branches"] == [{"name": "main", "ref": "refs/heads/main", "targetCommit": commit}]
    assert [row["id"] for row in get("/api/models/Pico/Llama/commits/main").json()] == [commit]
    assert get("/api/models/Pico/Llama/revision/none").headers["X-Error-Code"] == "RevisionNotFound"
    asked = Hf(None, "Pico/Llama").http.post(
        "/api/models/Pico/Llama/paths-info/main", "paths=config.json&paths=no", "application/x-www-form-urlencoded"
    )
    assert [row["path"] for row in asked.json()] == ["config.json"]
    assert get("/api/models/Pico/Llama/auth-check").status_code == 200


def test_files_come_by_commit_with_the_tags_of_git(base):
    commit = queries.base_commit(push(base, FILES))
    response = get("/pico/llama/resolve/refs/heads/main/model.safetensors")
    assert b"".join(response.streaming_content) == WEIGHTS
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert (response["X-Repo-Commit"], response["ETag"], response["X-Linked-Etag"]) == (
        commit,
        f'"{digest}"',
        f'"{digest}"',
    )
    text = get(f"/pico/llama/resolve/{commit}/tokenizer/vocab.txt", Range="bytes=2-")
    assert (text.status_code, b"".join(text.streaming_content)) == (206, b"b\n")
    assert text["ETag"] == f'"{hashlib.sha1(b"blob 4" + bytes(1) + FILES["tokenizer/vocab.txt"]).hexdigest()}"'
    missing = get("/pico/llama/resolve/main/no.txt")
    assert (missing.status_code, missing["X-Error-Code"], missing["X-Repo-Commit"]) == (404, "EntryNotFound", commit)


def test_revisions_are_branches_and_aliases_are_ids(base):
    push(base, FILES)
    tuned = factories.make_base("Pico/Llama", revision="step-2", created_by=base.created_by)
    old = base_files.manifest_of_base(base)
    new = push(tuned, FILES | {"README.md": b"# Two\n"})
    base.aliases.create(name="other/copy", folded="other/copy")
    refs = get("/api/models/pico/llama/refs").json()["branches"]
    assert [(row["name"], row["targetCommit"]) for row in refs] == [
        ("main", queries.base_commit(old)),
        ("step-2", queries.base_commit(new)),
    ]
    assert get("/Pico/Llama/resolve/step-2/README.md").status_code == 200
    assert get("/other/copy/resolve/main/README.md").status_code == 404
    alone = get("/api/models/other/copy/refs").json()["branches"]
    assert [row["targetCommit"] for row in alone] == [queries.base_commit(old)]


def test_an_alias_may_have_no_namespace(base):
    commit = queries.base_commit(push(base, FILES))
    base.aliases.create(name="llama", folded="llama")
    for path in ("", "/revision/main", f"/revision/{commit}"):
        assert get(f"/api/models/llama{path}").json()["sha"] == commit
    assert {row["path"] for row in get("/api/models/llama/tree/main").json()} >= {"config.json"}
    assert get("/Llama/resolve/main/config.json")["X-Repo-Commit"] == commit
    for path in ("/tree", "/commits", "/elsewhere", "/settings"):
        assert get(f"/api/models/llama{path}").status_code in (401, 404)  # They are ids of models, too.
    for path in ("/api/models/llama", "/llama/resolve/main/config.json"):
        assert Client().post(path).status_code == 404
    assert get("/api/models/other").headers["X-Error-Code"] == "RepoNotFound"


def test_a_repository_of_the_id_comes_first_for_those_who_see_it(base):
    push(base, FILES)
    pico = factories.make_organisation("pico", admin=base.created_by)
    factories.publish(
        base.created_by,
        factories.make_repository(base.created_by, "llama", namespace=pico, visibility="private"),
        factories.adapter_files(),
    )
    assert "config.json" in {row["rfilename"] for row in get("/api/models/pico/llama").json()["siblings"]}
    mine = Hf(base.created_by, "pico/llama").get("").json()
    assert (mine["id"], mine["private"]) == ("pico/llama", True)


def test_without_files_the_answer_lets_a_client_go_on_to_its_cache(base):
    for name in ("Pico/Llama", "nobody/here"):
        loader = {"User-Agent": "transformers/5.23.0; python/3.11.7; torch/2.9"}
        response = get(f"/{name}/resolve/main/config.json", **loader)
        assert (response.status_code, "X-Error-Code" in response) == (404, False)


def test_nobody_writes_to_a_base_by_the_protocol(base):
    push(base, FILES)
    before = Blob.objects.count()
    bob = Hf(factories.make_user("bob"), "Pico/Llama")
    assert bob.push({"README.md": b"# Mine\n"}).status_code == 404
    assert bob.preupload({"README.md": b"# Mine\n"}).status_code == 404
    assert Blob.objects.count() == before
