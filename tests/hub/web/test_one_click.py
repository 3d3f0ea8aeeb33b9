"""Every page that starts a job gives its form a key, so that two clicks on it are one job and two pages are two.

That a key sent twice is one job is tested with each page.
"""

import re

import pytest
from django.test import Client

from tests.hub import factories

pytestmark = pytest.mark.django_db

KEY = re.compile(r'name="key" value="([^"]*)"')
PAGES = [
    "/merge",
    "/generate",
    "/generate/train",
    "/jobs/new?kind=svd",
    "/jobs/evaluate?version=lab/a@v1",
    "/lab/a/transfer",
    "/lab/a/try",
]


@pytest.mark.parametrize("page", PAGES)
def test_each_page_has_a_key_of_its_own_and_one_after_a_refusal(page, people, base):
    factories.make_version(people.owner, "a", namespace=people.lab)
    client = Client()
    client.force_login(people.member)
    first, second = (KEY.findall(client.get(page).content.decode()) for _ in range(2))
    assert first and len(set(first)) == 1 and first[0], f"{page} has {first}"
    assert first != second
    kind = "trans-lora" if "transfer" in page else "svd"
    refused = client.post(page, {"kind": kind, "key": first[0]})
    assert refused.status_code == 422
    again = KEY.findall(refused.content.decode())
    assert again and all(again)
