"""The clients that this environment has, each in a process and a HF_HOME of its own. `test_versions` has the others."""

import pytest

from tests.clients import driving, snippets

pytestmark = pytest.mark.django_db(transaction=True)


def test_huggingface_hub_does_all_that_it_can(hub, tmp_path):
    rows = driving.run("hub_client", url=hub.url, home=tmp_path, signed_in=False, name="dates", **hub.tokens)
    assert not driving.failures(rows), driving.failures(rows)
    assert [row["call"] for row in rows if row["result"] == "absent"] == [
        "`upload_folder`, 72 MB of weights",
        "`upload_large_folder`",
    ]


def test_the_hf_command_does_all_that_it_can(hub, tmp_path):
    rows = driving.run("command_line", url=hub.url, home=tmp_path, signed_in=False, name="dates", **hub.tokens)
    assert {row["result"] for row in rows} == {"yes"}, driving.failures(rows)


def test_every_snippet_of_the_page_runs(hub, tmp_path):
    blocks = snippets.blocks(hub.url, hub.tokens)
    given = {"blocks": blocks, "commands": snippets.COMMANDS, **hub.tokens}
    rows = driving.run("page", url=hub.url, home=tmp_path, signed_in=False, **given)
    assert not driving.failures(rows), driving.failures(rows)
    # `datasets` is in the environments of `make test-clients`, which run this page too.
    assert len(blocks) == 12 and [row["call"] for row in rows if row["result"] == "absent"] == ["12 Datasets"]
