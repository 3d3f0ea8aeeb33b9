"""The clients that this environment has, each in a process and a HF_HOME of its own. `test_versions` has the others."""

import pytest

from hub.models import User
from tests.clients import driving, snippets, table
from tests.clients.journeys import folders
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)
SHOWN = "http://testserver"
"""The hub's address on a page that Django's own client asks for."""


def test_huggingface_hub_does_all_that_it_can(hub, tmp_path):
    rows = driving.run("hub_client", url=hub.url, home=tmp_path, signed_in=False, name="dates", **hub.tokens)
    assert not driving.failures(rows), driving.failures(rows)
    assert {row["call"] for row in rows} <= table.calls()
    assert [row["call"] for row in rows if row["result"] == "absent"] == [
        "`upload_folder`, 72 MB of weights",
        "`upload_large_folder`",
    ]


def test_the_hf_command_does_all_that_it_can(hub, tmp_path):
    rows = driving.run("command_line", url=hub.url, home=tmp_path, signed_in=False, name="dates", **hub.tokens)
    assert {row["result"] for row in rows} == {"yes"}, driving.failures(rows)
    assert {row["call"] for row in rows} <= table.calls()


@pytest.mark.slow  # half a minute; `make test-clients` runs the page as well
def test_every_snippet_of_the_docs_and_of_an_adapters_page_runs(hub, tmp_path, client):
    blocks = snippets.blocks(hub.url, hub.tokens)
    you = User.objects.get(username="you")
    folder = folders.adapter(tmp_path / "more", seed=3)
    repository = factories.make_repository(you, "more")
    factories.publish(you, repository, {path.name: path.read_bytes() for path in folder.iterdir()})
    shown = snippets.on_page(client.get("/you/more").content.decode())
    everything, alone = shown["PEFT, with HF_ENDPOINT"], shown["PEFT, the adapter alone from here"]
    assert f'os.environ["HF_ENDPOINT"] = "{SHOWN}"' in everything and f'endpoint="{SHOWN}"' in alone
    blocks += [["A page", "python", everything], ["A page", "python scoped", alone.replace(SHOWN, hub.url)]]
    given = {"blocks": blocks, "commands": snippets.COMMANDS, **hub.tokens}
    rows = driving.run("page", url=hub.url, home=tmp_path, signed_in=False, **given)
    assert not driving.failures(rows), driving.failures(rows)
    # `datasets` is in the environments of `make test-clients`, which run this page too.
    assert len(blocks) == 14 and [row["call"] for row in rows if row["result"] == "absent"] == ["12 Datasets"]
