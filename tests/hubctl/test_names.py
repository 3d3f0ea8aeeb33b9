"""Names with letters that no name here may have are said as they were written, never escaped, with the rule."""

import re

import pytest

from hub import names
from hubctl import requests
from hubctl.errors import HubctlError

pytestmark = pytest.mark.django_db(transaction=True)


COMMANDS = """
push ADAPTER ada/лора
push ADAPTER тест/x
push ADAPTER ada/a%20b
push ADAPTER ada/ok --base орг/лора
info ada/лора
pull ada/лора@v1 -o out
pull ada/x@тег -o out
tag ada/x@v1 тег
companions list ada/лора
usage лора
merge lego ada/лора ada/x --to ada/y
base alias орг/лора --add x
""".strip().splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_stands_in_the_answer_as_it_was_written(command, hubctl, signed_in, base, adapter):
    arguments = [str(adapter) if word == "ADAPTER" else word for word in command.split()]
    done = hubctl(*arguments)
    assert done.code in (1, 4), done.err
    # The address of a page is escaped once, as it must be.
    said = re.sub(r"\S*/bases/new\?\S+", "", done.err + done.out)
    assert "%D0" not in said
    assert "%25" not in done.err + done.out
    assert "route" not in done.err
    assert any(word in done.err for word in ("лора", "тест", "тег", "a%20b")), done.err


def test_the_client_knows_the_hubs_rules_for_names():
    assert requests.NAME.pattern == names.NAME.pattern
    assert requests.REF.pattern == names.REF.pattern


@pytest.mark.parametrize("name", ["a/b@release/1", "A-1/b.c_d@v1"])
def test_names_go_into_addresses_once(name):
    path, ref = requests.split(name)
    assert requests.split(path)[0] == path
    assert requests.version_path(name).endswith("/" + ref.replace("/", "%2F"))


@pytest.mark.parametrize("name", ["", "a", "a/b/c", "/b", "a/", "a b/c", "a/ö", "-a/b", "a/b@v 1", "a/b@ü"])
def test_what_no_repository_can_be_called_is_refused_here(name):
    with pytest.raises(HubctlError) as caught:
        requests.version_path(name)
    assert "%" not in caught.value.message
