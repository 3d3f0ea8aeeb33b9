"""Signed addresses of downloads: whatever happened to the repository, its gate or the token since counts."""

import pytest

from hub.models import Token
from hub.services import repositories
from hub.services.content.manifest import Entry
from hub.services.sharing import access_requests
from tests.hub import factories
from tests.hub.hf.test_lfs import action, batch, entry_of
from tests.hub.hf.wire import Hf

pytestmark = pytest.mark.django_db
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def held(people, repository, base, store) -> Entry:
    """The weights of `lab/sentiment`, which is public."""
    files = factories.adapter_files()
    factories.push(people.owner, repository, files)
    return entry_of(files[WEIGHTS])


def change(people, repository, **what: str) -> None:
    repositories.update_repository(actor=people.owner, repository=repository, **what)


@pytest.mark.parametrize("who", ["stranger", None])
def test_who_may_not_have_the_files_any_more_is_refused(people, repository, held, who):
    hf = Hf(getattr(people, who) if who else None, repository)
    address = action(batch(hf, held, operation="download"), "download")["href"]
    assert hf.http.get(address).status_code == 200
    for shut, opened in (({"gate": "manual"}, {"gate": "open"}), ({"visibility": "private"}, {"visibility": "public"})):
        change(people, repository, **shut)
        assert hf.http.get(address).status_code == 403
        assert batch(hf, held, operation="download").status_code in (401, 403, 404)
        change(people, repository, **opened)
        assert hf.http.get(address).status_code == 200
    repositories.delete_repository(actor=people.owner, repository=repository)
    assert hf.http.get(address).status_code == 403


def test_who_was_let_in_and_is_refused_later_has_nothing_of_an_older_address(people, repository, held):
    change(people, repository, gate="manual")
    request = access_requests.grant(actor=people.owner, repository=repository, user=people.stranger)
    hf = Hf(people.stranger, repository)
    address = action(batch(hf, held, operation="download"), "download")["href"]
    assert hf.http.get(address).status_code == 200
    access_requests.decide(actor=people.owner, repository=repository, request=request, state="rejected")
    assert hf.http.get(address).status_code == 403
    change(people, repository, gate="open")
    assert hf.http.get(address).status_code == 200
    Token.objects.filter(user=people.stranger).delete()
    assert hf.http.get(address).status_code == 403


def test_an_address_gives_its_file_and_takes_none(people, repository, held):
    hf = Hf(people.owner, repository)
    other = factories.make_repository(people.owner, "other", namespace=people.lab)
    secret = factories.adapter_files(seed=4)
    factories.push(people.owner, other, secret)
    address = action(batch(hf, held, operation="download"), "download")["href"]
    stolen = entry_of(secret[WEIGHTS]).sha256
    assert hf.http.get(address.replace(held.sha256, stolen)).status_code == 404
    assert hf.http.put(address, b"x", content_type="application/octet-stream").status_code == 403
    assert batch(hf, entry_of(secret[WEIGHTS]), operation="download").json()["objects"][0]["error"]["code"] == 404
