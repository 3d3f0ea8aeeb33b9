"""The corpus of hostile uploads, sent over REST: each is refused with its code, and nothing of it can be seen after."""

import pytest

from hub.models import Blob, ManifestEntry, Revision, Version
from hub.storage import blobs
from tests import hostile, uploads
from tests.hub import factories
from tests.hub.api_client import Api

# A card alone is no version, but it is welcome.
CASES = [case for case in hostile.cases() if set(case.files) != {"README.md"}]
# What JSON itself can't carry is refused a step earlier.
EARLIER = {
    "path.empty": "invalid",
    "path.control": "json.malformed",
    "path.too_long": "invalid",
    "path.too_many": "invalid",
}
# The hub knows the base's config, and with it what peft would fill: it says the shapes.
BY_CONFIG = {"adapter: whole weight": "adapter.does_not_load"}


def refusal(api: Api, name: str, files: dict[str, bytes]):
    """The first answer that says no, on the way of a push."""
    begun = api.begin(name, files, base="pico/hostile" if "data" not in name else None)
    if begun.status_code != 201:
        return begun
    upload = begun.json()["id"]
    for path, data in files.items():
        sent = api.send(upload, path, data, 0)
        if sent.status_code != 200:
            return sent
    return api.post(f"/uploads/{upload}/commit")


@pytest.mark.django_db
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_with_its_code_and_nothing_left(case, owner):
    base = factories.make_base("pico/hostile", ready=False)
    base.shapes, base.fingerprint = uploads.SHAPES, "f" * 64
    base.save()
    name = "data" if case.kind == "dataset" else "adapter"
    factories.make_repository(owner, name, kind=case.kind)
    stored = set(blobs.walk())
    api = Api(owner)
    refused = refusal(api, f"owner/{name}", case.files)
    assert refused.headers["Content-Type"] == "application/problem+json", refused.content
    body = refused.json()
    assert refused.status_code in (400, 422), body
    assert body["code"] in (BY_CONFIG.get(case.name, case.code), EARLIER.get(case.code)), body
    assert len(body["detail"]) > 20
    assert not (Revision.objects.exists() or Version.objects.exists() or ManifestEntry.objects.exists())
    assert not Blob.objects.exists()
    assert set(blobs.walk()) == stored
    assert api.get(f"/repositories/owner/{name}/files/main").status_code == 404
