"""Comparisons of merges: made by a worker, told only to those who see all adapters, and quick once Grams are kept."""

import pytest

from hub.access import Viewer
from hub.errors import Invalid, NotFound
from hub.http.job_serializers import show_whole
from hub.models import Repository, State, Version, Visibility
from tests.hub import asking, factories
from workers.derived import grams

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stranger(db):
    return factories.make_user("eve")


def ask(owner, adapters, **recipe):
    return asking.queue_job(actor=owner, kind="compare-merges", recipe=recipe, inputs=list(adapters))


def figures(outcome: dict) -> dict:
    """A report without what time decides."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in outcome["methods"]]
    return {**outcome, "methods": rows}


def kept(worker) -> list:
    return sorted(worker.cache.root.glob("grams-*/kept"))


def test_a_comparison_answers_and_publishes_nothing(work, owner, pair, worker):
    before = Version.objects.count()
    job = work(ask(owner, pair, rank=2))
    assert (job.state, job.error, job.result, job.output_path) == (State.DONE, None, None, "")
    assert [row["name"] for row in job.outcome["adapters"]] == [str(version) for version in pair]
    judged = {row["kind"]: row for row in job.outcome["methods"]}
    assert judged["cat"]["error_sum"] == pytest.approx(0, abs=1e-3) and judged["cat"]["rank"] == 6
    assert len(judged["svd"]["kept_inputs"]) == 2 and judged["svd"]["judged_by"] == "cores"
    assert job.outcome["recommended"]["without_text"]["kind"] in judged
    assert job.outcome["sentences"] and Version.objects.count() == before
    assert job.recipe["rank"] == 2 and len(kept(worker)) == 3


def test_an_open_rank_is_settled_before_the_job_is_queued(owner, pair):
    assert ask(owner, pair).recipe["rank"] == 4


def test_kept_grams_give_the_same_and_no_file_is_read(work, owner, pair, worker, monkeypatch):
    fresh = work(ask(owner, pair, rank=2, sample=0)).outcome
    monkeypatch.setattr(grams, "adapter_of", lambda *given: pytest.fail("it read weights"))
    monkeypatch.setattr(worker, "input_folder", lambda row: pytest.fail("it fetched files"))
    again = work(ask(owner, pair, rank=2, sample=0)).outcome
    assert figures(again) == figures(fresh)


def test_the_other_order_finds_the_same_pairs(work, owner, pair, monkeypatch):
    fresh = work(ask(owner, pair, rank=2, sample=0)).outcome
    monkeypatch.setattr(grams, "adapter_of", lambda *given: pytest.fail("it read weights"))
    turned = work(ask(owner, pair[::-1], rank=2, sample=0)).outcome
    by_kind = [{row["kind"]: row for row in outcome["methods"]} for outcome in (fresh, turned)]
    for kind in ("svd", "cat"):
        one, other = (rows[kind]["kept_inputs"] for rows in by_kind)
        assert one == pytest.approx(other[::-1], rel=1e-5)
    assert fresh["pairs"]["cosines"][0][1] == pytest.approx(turned["pairs"]["cosines"][1][0], abs=1e-6)


def test_only_missing_pairs_are_made_and_only_what_they_need_is_read(work, owner, pair, base, monkeypatch):
    work(ask(owner, pair, sample=0))
    third = factories.make_version(owner, "third", base=base, seed=9)
    read, adapter_of = [], grams.adapter_of
    monkeypatch.setattr(grams, "adapter_of", lambda *given: read.append(given[-1]) or adapter_of(*given))
    job = work(ask(owner, [*pair, third], sample=0))
    assert job.state == State.DONE and len(job.outcome["adapters"]) == 3
    assert len(read) == 3  # the new one's pairs need all three
    read.clear()
    work(ask(owner, [third, pair[0]], sample=0))
    assert not read


@pytest.mark.parametrize("harm", ["cut", "changed", "empty", "gone"])
def test_a_damaged_gram_is_made_again(work, owner, pair, worker, harm):
    fresh = work(ask(owner, pair, rank=2, sample=0)).outcome
    whole = {path: path.read_bytes() for path in kept(worker)}
    for path, data in whole.items():
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes({"cut": data[:-5], "changed": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}[harm])
    again = work(ask(owner, pair, rank=2, sample=0))
    assert again.state == State.DONE and figures(again.outcome) == figures(fresh)
    assert {path: path.read_bytes() for path in kept(worker)} == whole


def test_a_cache_that_can_not_be_written_costs_no_comparison(work, owner, pair, worker, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workers.cache.Path.write_bytes", full)
    job = work(ask(owner, pair, sample=0))
    assert job.state == State.DONE and not kept(worker)


def test_a_private_adapter_is_named_to_those_who_see_it_and_the_answer_hidden_from_others(work, owner, stranger, pair):
    Repository.objects.filter(pk=pair[1].repository_id).update(visibility=Visibility.PRIVATE)
    job = work(ask(owner, pair, rank=2))
    assert str(pair[1]) not in str(job.outcome)
    told = show_whole(Viewer(user=owner), job)["outcome"]
    assert [row["name"] for row in told["adapters"]] == [str(version) for version in pair]
    assert str(pair[1]) in str(told["sentences"]) + str(told["adapters"])
    assert show_whole(Viewer(user=stranger), job)["outcome"] is None


def test_what_can_not_be_compared_is_refused_before_it_is_queued(owner, stranger, pair, base):
    with pytest.raises(Invalid, match="at least 2"):
        ask(owner, pair[:1])
    far = factories.make_version(owner, "far", base=factories.make_base("pico/far"), base_name="pico/far")
    with pytest.raises(Invalid, match="pico/far"):
        ask(owner, [pair[0], far])
    Repository.objects.filter(pk=pair[1].repository_id).update(visibility=Visibility.PRIVATE)
    with pytest.raises(NotFound):
        ask(stranger, pair)


def test_who_lost_sight_of_an_adapter_gets_no_answer(work, owner, stranger, pair):
    job = ask(stranger, pair)
    Repository.objects.filter(pk=pair[1].repository_id).update(visibility=Visibility.PRIVATE)
    job = work(job)
    assert job.state == State.FAILED and job.outcome is None


def test_two_versions_of_one_content_share_their_grams(work, owner, pair, base, worker):
    card = "---\nlicense: mit\n---\n# A card\n"
    copy = factories.make_version(owner, "copy", base=base, seed=1, card=card)
    assert copy.content_digest == pair[0].content_digest
    job = work(ask(owner, [pair[0], copy], rank=2, sample=0))
    assert job.outcome["pairs"]["cosines"][0][1] == pytest.approx(1, abs=1e-6) and len(kept(worker)) == 1
