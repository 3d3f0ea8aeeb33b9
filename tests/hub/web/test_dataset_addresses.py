"""Pages of a model and a dataset of one name, and the way from the address that a dataset had before."""

import pytest
from django.test import Client

from hub.models import Repository, Visibility

pytestmark = pytest.mark.django_db


def browser(user=None) -> Client:
    client = Client()
    if user:
        client.force_login(user)
    return client


def test_each_has_its_page_and_its_links(people, twins):
    client = browser(people.owner)
    for path, words, other in (
        ("/lab/twin", "The model", "The data"),
        ("/datasets/lab/twin", "The data", "The model"),
    ):
        page = client.get(path)
        text = page.content.decode()
        assert page.status_code == 200 and words in text and other not in text
        for tab in ("files/v1", "versions", "settings"):
            inner = client.get(f"{path}/{tab}")
            assert inner.status_code == 200, tab
            assert f'href="{path}"' in inner.content.decode()
    for kind, path in (("adapter", "/lab/twin"), ("dataset", "/datasets/lab/twin")):
        assert f'href="{path}"' in client.get(f"/?kind={kind}").content.decode()


@pytest.mark.parametrize("rest", ["", "/at/v1", "/files/v1", "/versions", "/raw/v1/test.jsonl", "/at/v1?a=1&b=%2F"])
def test_the_old_address_leads_to_the_new_one(twin_data, rest):
    moved = browser().get(f"/lab/twin{rest}")
    assert (moved.status_code, moved.headers["Location"]) == (301, f"/datasets/lab/twin{rest}")
    assert moved.headers["Cache-Control"] == "no-store"


def test_it_tells_no_stranger_of_what_is_private(people, twins):
    model, data = twins
    Repository.objects.filter(pk=model.pk).update(visibility=Visibility.PRIVATE)
    assert browser().get("/lab/twin").status_code == 301
    assert browser(people.reader).get("/lab/twin").status_code == 200
    Repository.objects.filter(pk=data.pk).update(visibility=Visibility.PRIVATE)
    hidden, missing = browser().get("/lab/twin"), browser().get("/lab/none")
    assert hidden.status_code == missing.status_code == 404


def test_forms_of_an_old_page_still_do_their_work(people, twin_data):
    client = browser(people.owner)
    sent = client.post("/lab/twin/settings", {"visibility": "private", "description": "d"})
    assert (sent.status_code, sent.headers["Location"]) == (308, "/datasets/lab/twin/settings")
    assert client.post("/lab/twin/tag", {"name": "best", "ref": "v1"}).status_code == 302
    assert twin_data.refs.filter(name="best").exists()


def test_the_trash_restores_and_purges_the_one_that_is_meant(people, twins):
    data = twins[1]
    client = browser(people.owner)
    for path in ("/datasets/lab/twin", "/lab/twin"):
        assert client.post(f"{path}/delete").status_code == 302
    page = client.get("/trash").content.decode()
    for path in ("lab/twin", "datasets/lab/twin"):
        assert f'action="/trash/{path}"' in page and f'action="/trash/{path}/purge"' in page
    back = client.post("/trash/datasets/lab/twin", follow=True)
    assert back.redirect_chain == [("/datasets/lab/twin", 302)]
    assert "datasets/lab/twin is back" in back.content.decode()
    assert client.post("/trash/lab/twin/purge").status_code == 302
    assert client.post("/trash/lab/twin/purge").status_code == 404
    assert Repository.objects.get(pk=data.pk).deleted_at is None


def test_the_upload_page_names_its_goal(people, twins):
    page = browser(people.owner).get("/upload?to=datasets/lab/twin").content.decode()
    assert 'name="target" value="datasets/lab/twin"' in page and 'name="kind" value="dataset"' in page
