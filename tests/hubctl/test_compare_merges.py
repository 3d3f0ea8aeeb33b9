"""`hubctl merge compare`: what each merge would give, in sentences and figures, from a served hub and a real worker."""

import pytest

from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pair(signed_in, base):
    return [factories.make_version(signed_in, name, base=base, seed=n) for n, name in enumerate(("one", "two"), 1)]


def test_the_methods_are_compared_in_sentences_and_figures(hubctl, pair, worker):
    done = hubctl("merge", "compare", "ada/one", "ada/two@v1", "--rank", "2", "--weights", "1,0.5")
    assert done.code == 0, done.err
    assert "Try first: " in done.out and "of the sum" in done.out
    lines = done.out.splitlines()
    table = next(n for n, line in enumerate(lines) if line.startswith("method "))
    judged = {line.split()[0] for line in lines[table + 1 :] if line and line.split()[-1] in ("cores", "estimate")}
    assert {"lego", "svd", "cat", "average", "task-arithmetic"} <= judged
    assert any(line.startswith("1  ada/one@v1") for line in lines)
    (pair_line,) = (line for line in lines if line.startswith("1 and 2"))
    assert pair_line.count("°") == 4 and pair_line.count("%") == 2


def test_as_json_it_is_the_whole_report_and_methods_can_be_chosen(hubctl, pair, worker):
    report = hubctl("merge", "compare", "ada/one", "ada/two", "--methods", "svd,cat", "--sample", "0", "--json").json
    assert [row["kind"] for row in report["methods"]] == ["svd", "cat"]
    assert report["rank"] == 4 and report["judged"] == report["modules"]


def test_what_can_not_be_compared_is_refused(hubctl, pair):
    alone = hubctl("merge", "compare", "ada/one")
    assert alone.code != 0 and "at least 2" in alone.err
    missing = hubctl("merge", "compare", "ada/one", "ada/none")
    assert missing.code == 4 and "ada/none" in missing.err
    much = hubctl("merge", "compare", "ada/one", "ada/two", "--rank", "99")
    assert much.code != 0 and "99" in much.err


def test_help_lists_it_beside_the_methods(hubctl, served):
    shown = hubctl("merge", "--help").out
    assert "Commands:" in shown and "compare" in shown and "lego" in shown
    assert "--sample" in hubctl("merge", "compare", "--help").out
