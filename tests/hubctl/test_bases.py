"""Bases by the command line: other names, another owner, deleted where nothing uses them."""

from hub.models import BaseModel
from tests.hub import factories


def test_an_owner_names_gives_away_and_deletes(hubctl, signed_in):
    factories.make_user("bob")
    factories.make_base("ada/tiny", created_by=signed_in)
    used = factories.make_base("ada/used", created_by=signed_in)
    factories.make_base("ada/pruned", created_by=signed_in, derived_from=used, relation="pruned")
    named = hubctl("base", "alias", "ada/tiny", "--add", "/models/tiny", "--add", "x/tiny", "--json")
    assert named.json["aliases"] == ["/models/tiny", "x/tiny"], named.err
    assert hubctl("base", "alias", "/models/tiny", "--drop", "x/tiny", "--json").json["aliases"] == ["/models/tiny"]
    assert hubctl("base", "alias", "ada/tiny").code == 2
    refused = hubctl("base", "delete", "ada/used", "--yes")
    assert (refused.code, "ada/pruned" in refused.err) == (1, True)
    assert [hubctl("base", "delete", name, "--yes").code for name in ("ada/pruned", "ada/used")] == [0, 0]
    assert hubctl("base", "transfer", "ada/tiny", "bob", "--json").json["owner"] == "bob"
    assert hubctl("base", "delete", "ada/tiny", "--yes").code == 3
    assert [base.owner.username for base in BaseModel.objects.all()] == ["bob"]
    assert "bob" in hubctl("base", "list").out
