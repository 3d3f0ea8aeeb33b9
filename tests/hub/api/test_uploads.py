"""Pushing over REST: whole, in pieces, cut and resumed, refused; a refused push leaves nothing to see."""

import pytest

from hub.models import Event, Revision, Upload, Version
from hub.services.content import uploads
from tests.hub import factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(owner, base, repository) -> Api:
    return Api(owner)


@pytest.fixture
def files() -> dict[str, bytes]:
    return factories.adapter_files(card="---\nlicense: mit\n---\n# Card\n")


def test_pushes_and_reads_back(api, files):
    done = api.push("lab/sentiment", files, message="first")
    assert done["created"] and done["version"] == "v1" and len(done["revision"]) == 40
    listed = api.get("/repositories/lab/sentiment/files/v1").json()
    assert listed["revision"] == done["revision"]
    assert {row["path"]: row["size"] for row in listed["files"]} == {path: len(data) for path, data in files.items()}
    for path, data in files.items():
        got = api.get(f"/repositories/lab/sentiment/files/{done['revision']}/{path}")
        assert b"".join(got.streaming_content) == data


def test_pushing_the_same_again_makes_nothing(api, files):
    first = api.push("lab/sentiment", files)
    again = api.push("lab/sentiment", files)
    assert again == {**first, "created": False}
    assert Version.objects.count() == 1


def test_a_card_alone_is_a_new_revision_of_the_same_version(api, files):
    first = api.push("lab/sentiment", files)
    card = api.push("lab/sentiment", {"README.md": b"# Another\n"})
    assert card["version"] == first["version"] == "v1"
    assert card["revision"] != first["revision"]


def test_a_cut_upload_resumes_at_the_byte(api, files):
    weights = files["adapter_model.safetensors"]
    begun = api.begin("lab/sentiment", files).json()
    url = begun["id"], "adapter_model.safetensors"
    assert api.send(*url, weights[:100], 0).json() == {"received": 100}
    seen = {row["path"]: row["received"] for row in api.get(f"/uploads/{begun['id']}").json()["files"]}
    assert seen == {"README.md": 0, "adapter_config.json": 0, "adapter_model.safetensors": 100}
    wrong = problem(api.send(*url, weights[50:], 50), 409, "upload.offset")
    assert wrong["received"] == 100
    assert api.send(*url, weights[100:], 100).json() == {"received": len(weights)}
    early = problem(api.post(f"/uploads/{begun['id']}/commit"), 409, "upload.incomplete")
    assert {row["path"] for row in early["files"]} == {"README.md", "adapter_config.json"}
    for path in ("README.md", "adapter_config.json"):
        api.send(begun["id"], path, files[path], 0)
    assert api.post(f"/uploads/{begun['id']}/commit").status_code == 201
    assert api.post(f"/uploads/{begun['id']}/commit").json()["created"] is False


def test_the_body_is_streamed_in_blocks(api, files, monkeypatch):
    """Bytes reach the service by `read(n)`; nothing asks for the whole body."""
    sizes = []

    def spy(*, stream, **_):
        while block := stream.read(1000):
            sizes.append(len(block))
        return sum(sizes), None

    begun = api.begin("lab/sentiment", files).json()
    monkeypatch.setattr(uploads, "receive", spy)
    monkeypatch.setattr("django.http.request.HttpRequest.body", property(lambda self: pytest.fail("read .body")))
    sent = api.send(begun["id"], "adapter_model.safetensors", bytes(2500), 0)
    assert sent.json() == {"received": 2500}
    assert sizes == [1000, 1000, 500]


@pytest.mark.parametrize("header", ["", "-1", "x", "1.5", "9" * 40, "٣"])
def test_the_offset_header_must_be_a_number(api, files, header):
    begun = api.begin("lab/sentiment", files).json()
    # Header values are bytes to WSGI; what a browser can't send is sent as its UTF-8.
    sent = api.send(begun["id"], "README.md", b"x", header.encode().decode("latin-1"))
    assert problem(sent, 422, "upload.offset_header")["field"] == "Upload-Offset"


def test_a_body_of_unknown_length_is_refused(api, files):
    begun = api.begin("lab/sentiment", files).json()
    url = f"/uploads/{begun['id']}/files/README.md"
    problem(api.put(url, raw=b"", Upload_Offset=0, Transfer_Encoding="chunked"), 411, "length_required")
    assert api.put(url, raw=b"", Upload_Offset=0).json() == {"received": 0}


def test_a_path_not_promised_is_refused(api, files):
    begun = api.begin("lab/sentiment", files).json()
    problem(api.send(begun["id"], "other.md", b"x", 0), 404, "upload.file_not_found")


def test_more_bytes_than_promised_are_refused(api, files):
    begun = api.begin("lab/sentiment", files).json()
    problem(api.send(begun["id"], "README.md", files["README.md"] + b"x", 0), 422, "upload.too_long")


def test_other_bytes_than_promised_are_refused(api, files):
    begun = api.begin("lab/sentiment", {"README.md": b"abc"}).json()
    api.send(begun["id"], "README.md", b"xyz", 0)
    problem(api.post(f"/uploads/{begun['id']}/commit"), 422, "upload.digest")
    assert not Revision.objects.exists()


def test_abandoning_forgets(api, files):
    begun = api.begin("lab/sentiment", files).json()
    assert api.delete(f"/uploads/{begun['id']}").status_code == 204
    problem(api.get(f"/uploads/{begun['id']}"), 404, "not_found")
    assert not Upload.objects.exists()


def test_another_member_cannot_reach_into_an_upload(api, files, people):
    begun = api.begin("lab/sentiment", files).json()
    other = Api(people.member)
    problem(other.get(f"/uploads/{begun['id']}"), 404, "not_found")
    problem(other.send(begun["id"], "README.md", b"x", 0), 404, "not_found")
    problem(other.post(f"/uploads/{begun['id']}/commit"), 404, "not_found")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"files": "x"}, "files"),
        ({"files": [{"path": "a.md", "size": 1}]}, "files.0.sha256"),
        ({"files": [{"path": "a.md", "size": "1", "sha256": "0" * 64}]}, "files.0.size"),
        ({"files": [{"path": "a.md", "size": -1, "sha256": "0" * 64}]}, "files.0.size"),
        ({"files": [{"path": "a.md", "size": True, "sha256": "0" * 64}]}, "files.0.size"),
        ({"files": [{"path": "a.md", "size": 1, "sha256": "0" * 63}]}, "files.0.sha256"),
        ({"files": [{"path": "a.md", "size": 1, "sha256": "A" * 64}]}, "files.0.sha256"),
        ({"files": [{"path": 7, "size": 1, "sha256": "0" * 64}]}, "files.0.path"),
        ({"files": [{"path": "a" * 2000, "size": 1, "sha256": "0" * 64}]}, "files.0.path"),
        ({"files": [{"path": "a.md", "size": 1, "sha256": "0" * 64, "mode": 1}]}, "files.0.mode"),
        ({"message": "x" * 501}, "message"),
        ({"branch": 5}, "branch"),
        ({"deletions": {"a": 1}}, "deletions"),
        ({"force": True}, "force"),
    ],
)
def test_bad_bodies_name_the_field_and_leave_nothing(api, change, field):
    body = {"files": [{"path": "a.md", "size": 1, "sha256": "0" * 64}], **change}
    refused = problem(api.post("/repositories/lab/sentiment/uploads", body), 422, "invalid")
    assert refused["field"] == field
    assert not Upload.objects.exists()


@pytest.mark.parametrize("path", ["../x.md", "/etc/passwd", "a/../../x", "a//b", "C:\\x", "a\u202eb.md", "CON.md"])
def test_bad_paths_are_refused_before_a_byte_is_sent(api, path):
    refused = api.begin("lab/sentiment", {path: b"x"})
    assert refused.status_code == 422, refused.content
    assert refused.json()["code"].startswith("path.")
    assert not Upload.objects.exists()


@pytest.mark.parametrize("path", ["adapter_model.bin", "pytorch_model-00001-of-00002.bin", "x.zip"])
def test_pickles_and_archives_are_refused_by_name(api, path):
    refused = api.begin("lab/sentiment", {path: b"x"})
    assert refused.status_code == 422, refused.content
    assert refused.json()["code"].startswith("content.")


def test_an_unknown_base_is_404_with_what_to_do(api, files):
    problem(api.begin("lab/sentiment", files, base="no/such"), 404, "base_not_found")


def test_commits_are_in_the_audit_log(api, files):
    api.push("lab/sentiment", files)
    assert Event.objects.filter(verb="publish", object="lab/sentiment").count() == 1
