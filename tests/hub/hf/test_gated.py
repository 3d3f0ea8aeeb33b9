"""Gated repositories: everyone sees what it is, and its files are for members and for who was let in."""

import io

import pytest
from django.test import Client

from hub import access
from hub.errors import Conflict, HubError, Invalid, NotFound, PermissionDenied
from hub.models import AccessRequest, Repository
from hub.services import repositories, tokens
from hub.services.content import companions
from hub.services.jobs.prepare import prepare
from hub.services.jobs.recheck import recheck, require_sight
from hub.services.jobs.request import named_request
from hub.services.sharing import access_requests
from tests.hub import asking, factories

pytestmark = pytest.mark.django_db
TEXT = "Access to model lab/gated is restricted and you are not in the authorized list"
REST = "/api/v1/repositories/lab/gated"
DOORS = [
    f"{REST}/files/v1",
    f"{REST}/files/v1/adapter_model.safetensors",
    f"{REST}/files/v1/adapter_model.safetensors?uniform=1",
    "/lab/gated/raw/v1/adapter_model.safetensors",
]
OPEN_TO_ALL = [REST, f"{REST}/versions", f"{REST}/versions/v1", f"{REST}/refs", "/lab/gated", "/lab/gated/files/latest"]


class Everyone:
    """The people of a gated repository."""

    def __init__(self) -> None:
        self.owner, self.reader, self.stranger, self.other = map(
            factories.make_user, ("owner", "reader", "stranger", "other")
        )
        self.lab = factories.make_organisation("lab", admin=self.owner, reader=self.reader)
        factories.make_base()
        self.version = factories.make_version(self.owner, "gated", namespace=self.lab)
        self.repository = self.version.repository
        self.gate("manual")

    def gate(self, word: str) -> None:
        self.repository = repositories.update_repository(actor=self.owner, repository=self.repository, gate=word)

    def let_in(self, user) -> AccessRequest:
        return access_requests.grant(actor=self.owner, repository=self.repository, user=user)


@pytest.fixture
def people():
    return Everyone()


def secret(user, *scopes: str, **more) -> dict:
    """The header of a token of these scopes."""
    _, word = tokens.create_token(actor=user, name="t", scopes=list(scopes) or ["read"], **more)
    return {"headers": {"Authorization": f"Bearer {word}"}}


def signed_in(user=None) -> Client:
    client = Client()
    if user:
        client.force_login(user)
    return client


class TestEveryDoorOfTheFiles:
    @pytest.mark.parametrize("door", DOORS)
    def test_asks_who_is_let_in(self, people, door):
        people.let_in(people.other)
        for user in (people.owner, people.reader, people.other):
            assert signed_in(user).get(door).status_code == 200, user
        for user in (None, people.stranger):
            answer = signed_in(user).get(door)
            assert answer.status_code == 403
            assert "restricted and you are not in the authorized list" in answer.content.decode()

    def test_is_open_again_with_the_gate(self, people):
        people.gate("open")
        assert all(signed_in().get(door).status_code == 200 for door in DOORS)

    @pytest.mark.parametrize("page", OPEN_TO_ALL)
    def test_what_it_is_stays_for_everyone(self, people, page):
        assert signed_in(people.stranger).get(page).status_code == signed_in().get(page).status_code == 200

    def test_a_private_one_stays_hidden_from_who_was_let_in(self, people):
        people.let_in(people.other)
        repositories.update_repository(actor=people.owner, repository=people.repository, visibility="private")
        assert {signed_in(people.other).get(door).status_code for door in DOORS} == {404}

    def test_tokens_have_what_their_user_has_and_no_more(self, people):
        people.let_in(people.other)
        assert Client().get(DOORS[1], **secret(people.other, "download")).status_code == 200
        assert Client().get(DOORS[1], **secret(people.stranger, "download")).status_code == 403
        elsewhere = secret(people.other, "read", namespace="other")
        assert Client().get(DOORS[1], **elsewhere).status_code == 403

    def test_a_job_reads_only_what_its_owner_may_have(self, people):
        asked = {"kind": "lego", "recipe": {"rank": 2}, "inputs": ["lab/gated"], "output": "stranger/copy"}
        viewer = access.Viewer(user=people.stranger)
        with pytest.raises(access.Gated, match=TEXT):
            prepare(viewer, named_request(viewer, **asked))
        people.let_in(people.stranger)
        prepare(viewer, named_request(viewer, **asked))

    def test_a_queued_job_is_refused_when_a_worker_takes_it_and_when_it_ends(self, people):
        request = people.let_in(people.stranger)
        asked = {"kind": "lego", "recipe": {"rank": 2}, "inputs": [people.version], "output": ("stranger", "copy")}
        job = asking.queue_job(actor=people.stranger, **asked)
        recheck(job)
        access_requests.decide(actor=people.owner, repository=people.repository, request=request, state="rejected")
        for act in (recheck, require_sight):
            with pytest.raises(access.Gated):
                act(job)

    def test_companions_beside_it_are_files_too(self, people):
        people.gate("open")
        kept = {"kind": "seeds", "name": "s.jsonl", "stream": io.BytesIO(b'{"prompt": "a", "completion": "b"}\n')}
        companions.add_companion(actor=people.owner, repository=people.repository, visibility="public", **kept)
        path = f"{REST}/companions/seeds/s.jsonl"
        assert signed_in(people.stranger).get(path).status_code == 200
        people.gate("manual")
        assert signed_in(people.stranger).get(path).status_code == 404
        people.let_in(people.other)
        assert {signed_in(user).get(path).status_code for user in (people.other, people.reader)} == {200}

    def test_rows_of_a_gated_dataset_are_not_shown_on_its_page(self, people):
        data = factories.make_repository(people.owner, "rows", namespace=people.lab, kind="dataset")
        published = factories.publish(people.owner, data, factories.dataset_files())
        page = f"/{published.revision.repository.full_name}"
        assert "3 + 1 =" in signed_in().get(page, follow=True).content.decode()
        repositories.update_repository(actor=people.owner, repository=data, gate="manual")
        assert "3 + 1 =" not in signed_in(people.stranger).get(page, follow=True).content.decode()
        assert "3 + 1 =" in signed_in(people.reader).get(page, follow=True).content.decode()


class TestWhatIsMadeOfIt:
    def test_is_private(self, people):
        made = factories.make_repository(people.owner, "merged")
        factories.publish(people.owner, made, factories.adapter_files(seed=3), parents=[people.version])
        assert Repository.objects.get(pk=made.pk).visibility == "private"

    def test_becomes_public_only_by_an_admin_of_the_gated_one(self, people):
        people.let_in(people.other)
        made = factories.make_repository(people.other, "merged")
        factories.publish(people.other, made, factories.adapter_files(seed=3), parents=[people.version])
        with pytest.raises(PermissionDenied, match="lab/gated"):
            repositories.update_repository(actor=people.other, repository=made, visibility="public")

    def test_goes_into_no_public_repository(self, people):
        people.let_in(people.other)
        factories.make_version(people.other, "shown")
        asked = {"kind": "lego", "recipe": {"rank": 2}, "inputs": ["lab/gated"], "output": "other/shown"}
        viewer = access.Viewer(user=people.other)
        with pytest.raises(Invalid, match="made of a gated adapter is private"):
            prepare(viewer, named_request(viewer, **asked))


class TestAsking:
    def test_an_open_gate_has_nothing_to_ask_for(self, people):
        people.gate("open")
        with pytest.raises(Conflict) as refused:
            access_requests.ask(actor=people.stranger, repository=people.repository)
        assert refused.value.code == "access.not_needed"

    def test_auto_lets_in_at_once_and_its_admin_sees_who(self, people):
        people.gate("auto")
        assert signed_in(people.stranger).post(f"{REST}/access-requests").json()["state"] == "accepted"
        assert signed_in(people.stranger).get(DOORS[1]).status_code == 200
        listed = signed_in(people.owner).get(f"{REST}/access-requests").json()
        assert [row["user"] for row in listed["results"]] == ["stranger"]

    def test_manual_waits_for_an_admin(self, people):
        asked = signed_in(people.stranger).post(f"{REST}/access-requests").json()
        assert asked["state"] == "pending"
        assert signed_in(people.stranger).get(DOORS[1]).status_code == 403
        decide = f"{REST}/access-requests/stranger"
        json = {"content_type": "application/json"}
        assert signed_in(people.stranger).put(decide, {"state": "accepted"}, **json).status_code == 403
        assert signed_in(people.owner).put(decide, {"state": "accepted"}, **json).json()["decided_by"] == "owner"
        assert signed_in(people.stranger).get(DOORS[1]).status_code == 200
        assert signed_in(people.owner).put(decide, {"state": "rejected"}, **json).status_code == 200
        assert signed_in(people.stranger).get(DOORS[1]).status_code == 403
        with pytest.raises(Conflict) as refused:
            access_requests.ask(actor=people.stranger, repository=people.repository)
        assert refused.value.code == "access.rejected"

    def test_asking_twice_is_one_request(self, people):
        for _ in range(2):
            access_requests.ask(actor=people.stranger, repository=people.repository)
        assert AccessRequest.objects.count() == 1

    def test_what_is_decided_is_not_decided_again_the_same(self, people):
        request = people.let_in(people.stranger)
        for act in (
            lambda: people.let_in(people.stranger),
            lambda: access_requests.decide(
                actor=people.owner, repository=people.repository, request=request, state="accepted"
            ),
        ):
            with pytest.raises(Conflict) as refused:
                act()
            assert refused.value.code == "access.same_state"

    def test_nobody_is_let_in_to_what_is_open_or_theirs(self, people):
        with pytest.raises(Conflict):
            people.let_in(people.reader)
        people.gate("open")
        with pytest.raises(Conflict) as refused:
            people.let_in(people.stranger)
        assert refused.value.code == "access.not_gated"

    def test_only_admins_gate(self, people):
        json = {"content_type": "application/json"}
        assert signed_in(people.reader).patch(REST, {"gate": "open"}, **json).status_code == 403
        assert signed_in(people.owner).patch(REST, {"gate": "auto"}, **json).json()["gate"] == "auto"

    def test_a_wrong_word_is_refused(self, people):
        with pytest.raises(HubError, match="choose one of open, auto, manual"):
            people.gate("shut")


class TestPages:
    def test_who_is_not_in_asks_on_the_page_and_an_admin_lets_them_in_in_the_settings(self, people):
        page = signed_in(people.stranger).get("/lab/gated").content.decode()
        assert "Ask for access" in page
        signed_in(people.stranger).post("/lab/gated/access")
        assert "It waits for an admin" in signed_in(people.stranger).get("/lab/gated").content.decode()
        assert "stranger" in signed_in(people.owner).get("/lab/gated/settings").content.decode()
        signed_in(people.owner).post("/lab/gated/access/stranger", {"state": "accepted"})
        assert "Ask for access" not in signed_in(people.stranger).get("/lab/gated").content.decode()
        assert signed_in(people.stranger).get(DOORS[3]).status_code == 200

    def test_the_page_of_files_offers_downloads_to_who_may_have_them(self, people):
        offered = [
            "adapter_config.json" in page and 'class="download"' in page
            for page in (
                signed_in(user).get("/lab/gated/files/v1").content.decode() for user in (people.stranger, people.reader)
            )
        ]
        assert offered == [False, True]

    def test_the_settings_page_gates(self, people):
        form = {"visibility": "public", "gate": "open", "description": ""}
        signed_in(people.owner).post("/lab/gated/settings", form)
        assert Repository.objects.get(pk=people.repository.pk).gate == "open"


class TestProtocol:
    """The addresses that huggingface_hub calls, see tests/hub/hf/test_sharing_client.py for the client itself."""

    ID = "/api/models/lab/gated/user-access-request"

    def ask(self, user, path, body=None):
        auth = secret(user, "read", "write", "admin")
        if body is None:
            return Client().get(path, **auth)
        return Client().post(path, body, content_type="application/json", **auth)

    def test_asked_by_the_token_and_handled_by_name_or_number(self, people):
        asked = self.ask(people.stranger, "/lab/gated/ask-access", {})
        assert asked.json()["status"] == "pending"
        (row,) = self.ask(people.owner, f"{self.ID}/pending").json()
        assert row["user"]["user"] == "stranger"
        assert row["user"]["email"] is None
        done = self.ask(people.owner, f"{self.ID}/handle", {"requestId": row["requestId"], "status": "accepted"})
        assert done.json()["status"] == "accepted"
        again = self.ask(people.owner, f"{self.ID}/handle", {"user": "stranger", "status": "accepted"})
        assert again.status_code == 409
        assert self.ask(people.owner, f"{self.ID}/pending").json() == []
        assert len(self.ask(people.owner, f"{self.ID}/accepted").json()) == 1

    @pytest.mark.parametrize("body", [{}, {"requestId": "x"}, {"user": "nobody", "status": "accepted"}])
    def test_a_wrong_body_is_told(self, people, body):
        assert self.ask(people.owner, f"{self.ID}/handle", body).status_code in (404, 422)

    def test_grant_lets_in(self, people):
        assert self.ask(people.owner, f"{self.ID}/grant", {"user": "stranger"}).json()["status"] == "accepted"
        assert access.lets_in(access.Viewer(user=people.stranger), people.repository)
        assert self.ask(people.owner, f"{self.ID}/grant", {"user": "stranger"}).status_code == 409

    @pytest.mark.parametrize(
        "rest", ["resolve/main/README.md", "resolve/v1/adapter_model.safetensors", "raw/main/README.md"]
    )
    def test_files_are_refused_with_the_code_that_the_client_reads(self, people, rest):
        factories.publish(people.owner, people.repository, factories.adapter_files(card="# Card\n"))
        answer = self.ask(people.stranger, f"/lab/gated/{rest}")
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (403, "GatedRepo")
        assert answer.headers["X-Error-Message"].startswith(TEXT)
        assert self.ask(people.reader, f"/lab/gated/{rest}").status_code == 200

    @pytest.mark.parametrize("rest", ["", "/tree/main", "/refs", "/revision/v1", "/commits/main"])
    def test_what_it_is_is_told_to_everyone(self, people, rest):
        assert Client().get(f"/api/models/lab/gated{rest}").status_code == 200

    def test_auth_check_tells_who_may_have_the_files(self, people):
        assert self.ask(people.stranger, "/api/models/lab/gated/auth-check").headers["X-Error-Code"] == "GatedRepo"
        assert self.ask(people.reader, "/api/models/lab/gated/auth-check").status_code == 200

    def test_no_bytes_of_it_are_lent_to_another_repository_nor_given_as_lfs_objects(self, people):
        factories.make_repository(people.stranger, "mine")
        body = {"target": {"type": "model", "name": "stranger/mine"}, "files": []}
        lent = self.ask(people.stranger, "/api/models/lab/gated/lfs-files/duplicate", body)
        objects = [{"oid": "0" * 64, "size": 1}]
        batch = {"operation": "download", "objects": objects}
        given = self.ask(people.stranger, "/lab/gated.git/info/lfs/objects/batch", batch)
        assert {answer.headers.get("X-Error-Code") for answer in (lent, given)} == {"GatedRepo"}

    def test_refusals_carry_the_code_that_the_client_reads(self, people):
        from hub.hf.refusals import refusal_of

        with pytest.raises(access.Gated) as refused:
            access.repository(access.ANONYMOUS, "lab", "gated", "files")
        answer = refusal_of(refused.value, {})
        assert (answer.status_code, answer["X-Error-Code"]) == (403, "GatedRepo")
        assert TEXT in answer["X-Error-Message"]

    def test_who_sees_nothing_is_told_nothing(self, people):
        repositories.update_repository(actor=people.owner, repository=people.repository, visibility="private")
        with pytest.raises(NotFound):
            access.repository(access.Viewer(user=people.stranger), "lab", "gated", "files")
