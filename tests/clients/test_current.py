"""The clients that this environment has, each in a process and a HF_HOME of its own."""

import pytest

from tests.clients import driving

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_huggingface_hub_does_all_it_does_elsewhere(hub, tmp_path, xet):
    rows = driving.run("hub_client", url=hub.url, home=tmp_path / "home", xet=xet, name="dates", **hub.tokens)
    assert not driving.failures(rows), driving.failures(rows)
