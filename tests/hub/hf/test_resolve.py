"""A file by the protocol: headers that clients cache by, ranges, counting, who may; sessions at the raw address."""

import hashlib

import pytest
from django.test import Client

from hub.models import Event, Repository
from tests.hub import factories
from tests.hub.hf.asking import Asker, bytes_of, refused

pytestmark = pytest.mark.django_db
LOADER = "transformers/5.23.0; hf_hub/2.4.0; python/3.11.7"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def hub(people, base, store):
    return people


@pytest.fixture
def files():
    return factories.adapter_files(card="# Hello\n")


@pytest.fixture
def pushed(hub, repository, files):
    return factories.push(hub.owner, repository, files).revision


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_clients_know_files_by_gits_id_and_lfs_files_by_their_digest(method, pushed, files):
    card = Asker()(method, "/lab/sentiment/resolve/main/README.md")
    assert card.headers["ETag"] == f'"{git_sha1(files["README.md"])}"'
    assert "X-Linked-Etag" not in card.headers
    weights = Asker()(method, f"/lab/sentiment/resolve/v1/{WEIGHTS}")
    digest = f'"{hashlib.sha256(files[WEIGHTS]).hexdigest()}"'
    assert weights.headers["ETag"] == weights.headers["X-Linked-Etag"] == digest
    assert weights.headers["X-Linked-Size"] == weights.headers["Content-Length"] == str(len(files[WEIGHTS]))
    for answer in (card, weights):
        assert answer.headers["X-Repo-Commit"] == pushed.oid
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert "Content-Encoding" not in answer.headers
    assert bytes_of(weights) == (files[WEIGHTS] if method == "GET" else b"")


def test_nothing_is_compressed_though_the_client_offers_it(pushed, files):
    answer = Asker().get(f"/lab/sentiment/resolve/main/{WEIGHTS}", Accept_Encoding="gzip, deflate, br")
    assert "Content-Encoding" not in answer.headers and bytes_of(answer) == files[WEIGHTS]


@pytest.mark.parametrize(
    ("range", "first", "last"),
    [("bytes=0-99", 0, 99), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=0-99999999", 0, None)],
)
def test_a_range_is_the_part(range, first, last, pushed, files):
    answer = Asker().get(f"/lab/sentiment/resolve/main/{WEIGHTS}", Range=range)
    part = files[WEIGHTS][first : None if last is None else last + 1]
    assert (answer.status_code, bytes_of(answer)) == (206, part)
    assert answer.headers["Content-Range"].endswith(f"/{len(files[WEIGHTS])}")


def test_a_part_of_another_state_is_never_given(pushed, files):
    path = "/lab/sentiment/resolve/main/README.md"
    etag = Asker().get(path).headers["ETag"]
    assert Asker().get(path, Range="bytes=2-", If_Range=etag).status_code == 206
    whole = Asker().get(path, Range="bytes=2-", If_Range='"another"')
    assert (whole.status_code, bytes_of(whole)) == (200, files["README.md"])
    assert Asker().get(path, If_None_Match=etag).status_code == 304
    beyond = Asker().get(path, Range="bytes=999-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(files['README.md'])}")


def test_what_is_missing_says_what_of_it(hub, pushed):
    ask = Asker()
    missing = ask.get("/lab/sentiment/resolve/main/none.txt")
    refused(missing, 404, "EntryNotFound", "none.txt")
    assert missing.headers["X-Repo-Commit"] == pushed.oid
    refused(ask.get("/lab/sentiment/resolve/none/README.md"), 404, "RevisionNotFound")
    refused(ask.get("/lab/none/resolve/main/README.md"), 401, "RepoNotFound", "Repository not found")
    refused(Asker(hub.stranger).get("/datasets/lab/sentiment/resolve/main/README.md"), 404, "RepoNotFound")
    refused(ask.get("/lab/sentiment/resolve/main/"), 404, "EntryNotFound")


LOADER = "unknown/None; hf_hub/2.4.0; python/3.11.7; torch/2.13.0; transformers/5.23.0; file_type/config"


def test_an_id_that_is_none_of_here_lets_a_loader_of_models_go_on_to_its_cache(hub, base, pushed):
    """No code of the protocol: with one, transformers gives up before it looks into its cache."""
    for path in (
        "/google/gemma/resolve/main/config.json",
        "/gpt2/resolve/main/config.json",
        "/pico/llama/resolve/main/generation_config.json",
        "/api/models/google/gemma/tree/main/additional_chat_templates",
        "/api/models/gpt2/tree/main/additional_chat_templates",
    ):
        for ask in (Asker(), Asker(hub.owner)):
            refused(ask.get(path, User_Agent=LOADER), 404, None, "not kept in this hub")
            if path.endswith("/additional_chat_templates"):  # transformers 4 doesn't say its name there.
                refused(ask.get(path, User_Agent="hf_hub/0.36.0"), 404, None, "not kept in this hub")
    refused(Asker().get("/api/models/google/gemma"), 401, "RepoNotFound")
    refused(Asker().get("/google/gemma/resolve/main/config.json", User_Agent="hf_hub/2.4.0"), 401, "RepoNotFound")


def test_who_loads_no_model_is_told_that_there_is_no_such_repository(hub, base, pushed):
    files = ("/google/gemma/resolve/main/config.json", "/gpt2/resolve/main/config.json")
    trees = ("/api/models/google/gemma/tree/main?recursive=true", "/api/models/gpt2/tree/main")
    for path in (*files, *trees):
        for agent in ("", "unknown/None; hf_hub/2.4.0; python/3.11.7; torch/2.13.0", "curl/8.5"):
            refused(Asker(hub.owner).get(path, User_Agent=agent), 404, "RepoNotFound", "Repository not found")


def test_a_download_of_the_weights_counts_once(hub, repository, pushed, files):
    def counted() -> int:
        return Repository.objects.get(pk=repository.pk).downloads

    path = f"/lab/sentiment/resolve/main/{WEIGHTS}"
    Asker()("HEAD", path, X_HF_Download_Counter="1")
    Asker().get("/lab/sentiment/resolve/main/README.md", X_HF_Download_Counter="1")
    Asker().get(path, Range="bytes=0-100")  # a look at the header of the tensors
    Asker().get(path, Range="bytes=100-", X_HF_Download_Counter="1")  # the rest of a download
    assert counted() == 0
    Asker().get(path, X_HF_Download_Counter="1")
    Asker().get(path)
    assert counted() == 2


def test_private_files_are_for_those_who_may_and_noted(hub, repository, pushed):
    Repository.objects.update(visibility="private")
    path = "/lab/sentiment/resolve/main/README.md"
    refused(Asker().get(path), 401, "RepoNotFound", "Repository not found")
    refused(Asker(hub.stranger).get(path), 404, "RepoNotFound")
    assert Asker(hub.reader, scopes=["download"]).get(path).status_code == 200
    assert Event.objects.get(verb="download").actor == hub.reader
    bad = Asker()
    bad.headers = {"Authorization": "Bearer ah_nothing"}
    refused(bad.get(path), 401, None, "Invalid credentials in Authorization header")


def test_browsers_are_served_at_the_same_addresses_by_their_session(hub, repository, pushed, files):
    Repository.objects.update(visibility="private")
    browser = Client()
    browser.force_login(hub.reader)
    for kind in ("raw", "resolve"):
        answer = browser.get(f"/lab/sentiment/{kind}/main/README.md", headers={"Accept": "text/html"})
        assert bytes_of(answer) == files["README.md"]
        assert answer.headers["Content-Disposition"].startswith("attachment")
    page = browser.get("/lab/sentiment/raw/main/none.md", headers={"Accept": "text/html"})
    assert page.status_code == 404 and b"<html" in page.content
    hidden = Client().get("/lab/sentiment/raw/main/README.md", headers={"Accept": "text/html"})
    missing = Client().get("/lab/none/raw/main/README.md", headers={"Accept": "text/html"})
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert b"<html" in hidden.content


def test_a_picture_has_its_type_at_the_raw_address(hub, repository, pushed):
    png = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
    factories.push(hub.owner, repository, {"img/plot.png": png})
    assert Asker().get("/lab/sentiment/raw/main/img/plot.png").headers["Content-Type"] == "image/png"
    assert Asker().get("/lab/sentiment/resolve/main/img/plot.png").headers["Content-Type"] == "application/octet-stream"


def test_a_form_is_served_under_its_own_id(pushed, files):
    plain = Asker().get(f"/lab/sentiment/resolve/v1/{WEIGHTS}")
    made = Asker().get(f"/lab/sentiment/resolve/v1/{WEIGHTS}?uniform=1")
    assert made.status_code == 200
    assert (made.headers["ETag"] == plain.headers["ETag"]) == (bytes_of(made) == files[WEIGHTS])
    assert "X-Linked-Etag" not in made.headers


def test_raw_leads_from_a_models_address_to_the_dataset(hub, dataset):
    factories.push(hub.owner, dataset, factories.dataset_files())
    answer = Asker().get("/lab/sums/raw/main/test.jsonl")
    assert (answer.status_code, answer.headers["Location"]) == (301, "/datasets/lab/sums/raw/main/test.jsonl")
