"""Parts of a mixture over HTTP: the source's own files for those who see it, the same weights cut for all others."""

import hashlib
from urllib.parse import quote

import pytest
from django.test import Client

from composition.moe.unstack import cat_of, expert_of
from composition.weights import save_peft
from hub.models import Repository, Visibility
from hub.services import repositories
from tests.hub import factories
from tests.hub.api_client import Api, problem
from tests.hub.mixtures import make_mixture

pytestmark = pytest.mark.django_db
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
FILES = "/repositories/lab/mix/files/v1"
NAMES = ["lab/open@v1", "private adapter 2"]


@pytest.fixture
def sources(people, base):
    """A public adapter of lab, and one in the stranger's own namespace that only they can see."""
    first = factories.make_version(people.owner, "open", namespace=people.lab, base=base, seed=1, card="# Open\n")
    second = factories.make_version(people.stranger, "own", base=base, seed=2, rank=2, visibility="private")
    return [first, second]


@pytest.fixture
def mix(people, sources, tmp_path):
    return make_mixture(people.owner, sources, tmp_path / "made", names=NAMES, namespace=people.lab)


def content(response) -> bytes:
    assert response.status_code in (200, 206), response.content
    return b"".join(response.streaming_content) if response.streaming else response.content


def listed(api: Api, query: str) -> dict:
    response = api.get(f"{FILES}?{query}")
    assert response.status_code == 200, response.content
    return response.json()


def saved(weights, folder, **layout) -> dict[str, bytes]:
    save_peft(weights, folder, **layout)
    return {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}


def fetched(api: Api, query: str) -> dict[str, bytes]:
    """What the listing names, each checked by its digest."""
    rows = listed(api, query)["files"]
    found = {row["path"]: content(api.get(f"{FILES}/{row['path']}?{query}")) for row in rows}
    for row in rows:
        data = found[row["path"]]
        assert (row["size"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    return found


def test_whoever_sees_the_source_gets_its_own_files(people, mix):
    own = factories.adapter_files(seed=1, card="# Open\n")
    query = f"expert={quote('lab/open@v1')}"
    for user in (None, people.stranger, people.reader, people.member, people.owner):
        api = Api(user)
        assert fetched(api, query) == own
        assert listed(api, query)["source"] == "lab/open@v1"


def test_a_source_one_can_not_see_is_cut_out_and_not_named(people, mix, tmp_path):
    cut = saved(expert_of(tmp_path / "made" / "mix", NAMES[1]), tmp_path / "saved")
    own = factories.adapter_files(seed=2, rank=2)
    query = f"expert={quote(NAMES[1])}"
    for user in (None, people.reader, people.member, people.owner):
        api = Api(user)
        assert fetched(api, query) == cut
        answer = api.get(f"{FILES}?{query}")
        assert answer.json()["source"] is None
        assert b"stranger" not in answer.content and b"own" not in answer.content
    assert fetched(Api(people.stranger), query) == own
    assert listed(Api(people.stranger), query)["source"] == "stranger/own@v1"


def test_a_source_in_the_trash_is_cut_out(people, mix, sources):
    repositories.delete_repository(actor=people.owner, repository=sources[0].repository)
    answer = listed(Api(people.owner), f"expert={quote(NAMES[0])}")
    assert (answer["source"], [row["path"] for row in answer["files"]]) == (None, [CONFIG, WEIGHTS])


def test_a_digest_in_an_uploaded_config_opens_no_door(people, sources, tmp_path):
    """A mixture that claims another's private adapter as its source, without being made of it here."""
    made = make_mixture(people.owner, sources, tmp_path / "made", names=NAMES, namespace=people.lab)
    made.parentage.all().delete()
    assert listed(Api(people.stranger), f"expert={quote(NAMES[1])}")["source"] is None


@pytest.mark.parametrize("query", ["expert=private%20adapter%202", "as=cat"])
def test_a_private_mixtures_parts_are_its_members(people, mix, query):
    mix.repository.refresh_from_db()
    Repository.objects.filter(pk=mix.repository_id).update(visibility=Visibility.PRIVATE)
    missing = Api().get("/repositories/lab/nothing/files/v1").json()
    for user in (None, people.stranger):
        for path in (f"{FILES}?{query}", f"{FILES}/{WEIGHTS}?{query}"):
            hidden = problem(Api(user).get(path), 404, missing["code"])
            assert hidden["detail"] == missing["detail"].replace("nothing", "mix")
        page = Client(raise_request_exception=False)
        if user:
            page.force_login(user)
        assert page.get(f"/lab/mix/raw/v1/{WEIGHTS}?{query}").status_code == 404
    for user in (people.reader, people.member, people.owner):
        assert len(fetched(Api(user), query)) == 2


def test_an_unknown_expert_is_told_with_those_there_are(mix):
    for path in (FILES, f"{FILES}/{WEIGHTS}"):
        refused = problem(Api().get(f"{path}?expert=nobody"), 404, "expert_not_found")
        assert refused["experts"] == NAMES
        assert all(name in refused["detail"] for name in NAMES)


def test_what_is_no_mixture_has_no_parts(mix):
    for query in ("expert=a", "as=cat"):
        problem(Api().get(f"/repositories/lab/open/files/v1?{query}"), 404, "no_mixture")
    problem(Api().get(f"{FILES}?as=zip"), 422, "invalid")
    problem(Api().get(f"{FILES}?as=cat&expert=a"), 422, "invalid")
    problem(Api().get(f"{FILES}/README.md?as=cat"), 404, "file_not_found")


def test_all_as_one_lora(mix, tmp_path):
    cat, shapes = cat_of(tmp_path / "made" / "mix"), mix.base.shapes
    compact = saved(cat, tmp_path / "compact")
    right_everywhere = saved(cat, tmp_path / "uniform", layout="uniform", base_shapes=shapes)
    assert compact != right_everywhere
    assert fetched(Api(), "as=cat&uniform=0") == compact
    for query in ("as=cat&uniform=1", "as=cat"):  # the experts' ranks add up to 6, which LoRAX reads wrongly
        assert fetched(Api(), query) == right_everywhere
        assert "answers otherwise" in listed(Api(), query)["warning"]


def test_an_expert_in_the_uniform_form(people, mix, tmp_path):
    """Cut out for those who don't see its source, made of the source's files for those who do: the same bytes."""
    expert, shapes = expert_of(tmp_path / "made" / "mix", NAMES[1]), mix.base.shapes
    expected = saved(expert, tmp_path / "saved", layout="uniform", base_shapes=shapes)[WEIGHTS]
    query = f"expert={quote(NAMES[1])}&uniform=1"
    for user in (None, people.member, people.stranger):
        assert fetched(Api(user), query)[WEIGHTS] == expected


def test_a_cut_is_resumed_and_asked_for_once(mix):
    address = f"{FILES}/{WEIGHTS}?expert={quote(NAMES[1])}"
    whole = Api().get(address)
    data, etag = content(whole), whole.headers["ETag"]
    assert content(Api().get(address, Range="bytes=100-")) == data[100:]
    assert content(Api().get(address, Range="bytes=500-507")) == data[500:508]
    assert Api().get(address, If_None_Match=etag).status_code == 304
    head = Api()("HEAD", address)
    assert (head.headers["Content-Length"], content(head)) == (str(len(data)), b"")
    assert Repository.objects.get(name="mix").downloads == 1


def test_a_sources_own_file_counts_for_the_source(mix):
    content(Api().get(f"{FILES}/{WEIGHTS}?expert={quote(NAMES[0])}"))
    counts = dict(Repository.objects.values_list("name", "downloads"))
    assert (counts["open"], counts["mix"]) == (1, 0)


def test_the_page_lists_experts_with_downloads(people, mix):
    for user, sees in ((None, False), (people.owner, False), (people.stranger, True)):
        client = Client()
        if user:
            client.force_login(user)
        page = client.get("/lab/mix").content.decode()
        assert f"{WEIGHTS}?expert=private%20adapter%202" in page
        assert "can&#x27;t route tokens to adapters yet" in page
        assert "answers otherwise" in page
        assert ('href="/lab/open/at/v1"' in page, "stranger/own" in page) == (True, sees)
        assert "hubctl pull lab/mix@v1 --as cat" in page
    raw = Client().get(f"/lab/mix/raw/v1/{CONFIG}", {"expert": NAMES[1]})
    assert b"LORA" in content(raw)
