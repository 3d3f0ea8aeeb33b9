"""Bases as configs name them: revisions, paths, quantised copies. The refusal says the way, and the way works."""

import json
import re
import shlex
from pathlib import Path

import pytest

from hub.models import BaseAlias, BaseModel, Version
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)
CASES = Path(__file__).parents[1] / "field" / "cases"
PATHS = ["f10_base_local", "f10_base_hfcache", "f10_base_win", "f10_base_slash"]


CONFIG = json.loads((CASES.parent / "bases" / "llama.json").read_text())


def make_base(**fields):
    from composition.base_models import module_shapes

    made = factories.make_base(**fields)
    BaseModel.objects.filter(pk=made.pk).update(config=CONFIG, shapes=module_shapes(CONFIG))
    made.refresh_from_db()
    return made


@pytest.fixture
def base(served):
    """The base of the cases."""
    return make_base()


def commands(text, start="hubctl push"):
    """The commands of a sentence, each up to the words that go on."""
    found = re.findall(rf"{start} .*?(?=(?: – or )|(?:\. [A-Z])|\)|$|\n|, or )", text)
    return [shlex.split(one.rstrip("."))[1:] for one in found]


def refused(hubctl, case, name="ada/x"):
    done = hubctl("push", CASES / case, name)
    assert done.code == 1, done.out
    assert "base.unknown" in done.err
    return done.err


@pytest.mark.parametrize("case", ["f10_base_rev", "f10_base_rev_sha", *PATHS, "f10_base_bnb4"])
def test_the_push_that_the_refusal_names_works(case, hubctl, signed_in, base):
    text = refused(hubctl, case)
    assert "pico/llama" in text
    (command, *_) = commands(text)
    assert command[-2:] == ["--base", "pico/llama"]
    done = hubctl(*command)
    assert done.code == 0, done.err
    assert Version.objects.get().base == base


@pytest.mark.parametrize("case", PATHS)
def test_so_does_the_alias_for_all_further_pushes(case, hubctl, signed_in, base):
    (command,) = commands(refused(hubctl, case), "hubctl base alias")
    base.created_by = signed_in
    base.save()
    assert hubctl(*command).code == 0
    assert BaseAlias.objects.get().base == base
    assert hubctl("push", CASES / case, "ada/x").code == 0


def test_a_revision_that_is_not_registered_is_named_as_such(hubctl, signed_in, base):
    """Once it said that pico/llama is not registered, and that registered is pico/llama."""
    text = refused(hubctl, "f10_base_rev")
    assert "whose revision 'refs/pr/3' is not registered here; pico/llama is" in text
    assert "base add" not in text, "no base can have that revision"
    sha = refused(hubctl, "f10_base_rev_sha")
    assert "hubctl base add pico/llama --revision 0123456789abcdef0123456789abcdef01234567 --config" in sha


def test_of_several_revisions_main_is_meant_and_without_it_one_must_be_said(hubctl, signed_in, served):
    early, main = make_base(revision="early"), make_base()
    assert hubctl("push", CASES / "f10_base_rev_main_of_two", "ada/x").code == 0
    assert hubctl("push", CASES / "f10_base_local", "ada/y", "--base", "pico/llama").code == 0
    assert {version.base for version in Version.objects.all()} == {main}
    BaseModel.objects.filter(pk=main.pk).update(revision="late")
    text = refused(hubctl, "f10_base_rev_main_of_two", "ada/z")
    assert "no revision main" in text
    (command,) = commands(text)
    assert hubctl(*command).code == 0
    assert Version.objects.latest("pk").base == early


@pytest.mark.parametrize("case", ["f10_base_empty", "f10_base_null"])
def test_no_name_at_all(case, hubctl, signed_in, base):
    assert "names no base model" in refused(hubctl, case)
    assert hubctl("push", CASES / case, "ada/x", "--base", "pico/llama").code == 0


def test_a_name_in_other_letters_is_the_base(hubctl, signed_in, base):
    assert hubctl("push", CASES / "f10_base_case", "ada/x").code == 0


def test_a_quantised_copy_is_registered_and_merged_with_the_base_after_a_word(
    hubctl, signed_in, base, worker, tmp_path, adapter
):
    (tmp_path / "config.json").write_text((CASES.parent / "bases" / "llama.json").read_text())
    text = refused(hubctl, "f10_base_bnb4", "ada/small")
    (command,) = commands(text, "hubctl base add")
    command[command.index("config.json")] = str(tmp_path / "config.json")
    assert hubctl(*command).code == 0
    assert hubctl("push", CASES / "f10_base_bnb4", "ada/small").code == 0
    assert hubctl("push", CASES / "f10_base_case", "ada/big").code == 0

    merge = ["merge", "svd", "ada/small", "ada/big", "--rank", "4", "--to", "ada/both", "--wait"]
    refusal = hubctl(*merge)
    assert refusal.code == 1
    assert "--across-quantisations" in refusal.err
    assert "pico/llama" in refusal.err
    done = hubctl(*merge, "--across-quantisations")
    assert done.code == 0, done.err
    made = Version.objects.get(repository__name="both")
    assert made.base == base, "the result is for the base that is not quantised"
    assert made.recipe["across_quantisations"] is True
