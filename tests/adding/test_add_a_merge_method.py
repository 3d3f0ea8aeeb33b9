"""Steps of docs/architecture.md, "Add a merge method": the toy `fade`, laid over the tree, through every door."""

from html import escape

import numpy as np
import pytest

from composition.registry import METHODS, table_of
from tests.adding import overlay
from tests.adding.reference import folder_of, on_model, peft_updates, same, updates
from tests.hub.api_client import problem

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fade")]
ASK = {"kind": "fade", "recipe": {"decay": 0.25}, "inputs": ["ada/one", "ada/two"], "output": "ada/faded"}


@pytest.fixture
def faded(lab, work):
    """The finished job of ASK."""
    done = work(lab.api.post("/jobs", ASK).json()["id"])
    assert (done.state, done.error) == ("done", None)
    return done


def test_it_takes_two_files_beside_a_test_and_a_line_of_docs():
    assert overlay.files("toy_merge") == ["composition/merging/fade.py", "composition/recipes/merge/fade.py"]


def test_it_comes_behind_the_method_that_forms_open_with():
    """Whatever its module is called: `fade` comes before `merge` by name."""
    rows = [METHODS["fade"], *(row for row in METHODS.values() if row.kind != "fade")]
    assert list(table_of(rows))[:2] == ["lego", "fade"]


class TestRest:
    def test_it_is_listed_with_its_fields(self, lab):
        listed = {method["kind"]: method for method in lab.api.get("/methods").json()}
        fields = {field["name"]: field for field in listed["fade"]["fields"]}
        assert next(iter(listed)) == "lego"
        shared = {field["name"] for field in listed["average"]["fields"]}
        assert set(fields) == shared | {"decay"}
        assert (fields["decay"]["minimum"], fields["decay"]["maximum"], fields["decay"]["default"]) == (0.01, 1, 0.5)

    def test_the_dry_run_tells_what_comes_of_it(self, lab):
        told = lab.api.post("/jobs/check", ASK).json()
        assert (told["ok"], told["rank"], told["visibility"]) == (True, 6, "public")
        assert told["ranks"]["model.layers.0.self_attn.q_proj"] == 6
        assert [row["fits"] for row in told["inputs"]] == [True, True]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"recipe": {"decay": 7}}, "decay"),
            ({"recipe": {"weights": [1, 0]}}, "weights"),
            ({"inputs": ["ada/one"]}, "inputs"),
        ],
    )
    def test_a_bad_value_is_refused_by_name_by_the_dry_run_and_by_the_start(self, lab, change, field):
        (first, *_) = lab.api.post("/jobs/check", ASK | change).json()["problems"]
        error = problem(lab.api.post("/jobs", ASK | change), 422, first["code"])
        assert first["field"] == error["field"] == field
        assert error["detail"] == first["message"]


class TestResult:
    def test_it_is_what_numpy_and_peft_make_of_it(self, lab, faded, here):
        parents = {name: folder_of(here, version) for name, version in (("one", lab.one), ("two", lab.two))}
        made = on_model({**parents, "faded": folder_of(here, faded.result)})
        ours = {module: delta for module, delta in peft_updates(made, "faded").items() if delta.any()}
        one, two = (updates(folder) for folder in parents.values())
        assert same(ours, {module: one.get(module, 0) + np.multiply(two.get(module, 0), 0.25) for module in one | two})
        shared = sorted(one.keys() & two.keys())
        for module in shared:
            layer = made.get_submodule(f"base_model.model.{module}")
            theirs = layer.get_delta_weight("one") + 0.25 * layer.get_delta_weight("two")
            assert np.allclose(ours[module], theirs.detach().numpy(), atol=1e-5)
        assert len(shared) == 2

    def test_it_is_a_version_with_recipe_parents_and_card(self, lab, faded):
        version = lab.api.get("/repositories/ada/faded/versions/v1").json()
        assert (version["origin"], version["recipe"]["kind"], version["recipe"]["decay"]) == ("merged", "fade", 0.25)
        assert [parent["name"] for parent in version["parents"]] == ["ada/one@v1", "ada/two@v1"]
        assert version["base"] == "pico/llama"
        card = lab.api.get("/repositories/ada/faded/files/v1/README.md")
        assert "made by Fading sum" in b"".join(card.streaming_content).decode()
        assert faded.result.report["summary"]["error_sum"] > 0


class TestCommandLine:
    def test_it_is_run_by_its_name_and_its_own_options(self, hubctl, lab, work):
        assert "--decay" in hubctl("merge", "fade", "--help").out
        assert "counting less than the one before" in " ".join(hubctl("merge", "--help").out.split())
        given = ["ada/one", "ada/two", "--decay", 0.25, "--to", "ada/faded"]
        assert "fits: rank 6" in hubctl("merge", "fade", *given, "--check").out
        queued = hubctl("merge", "fade", *given, "--json")
        assert queued.code == 0, queued.err
        assert work(queued.json["id"]).state == "done"
        shown = hubctl("info", "ada/faded").out
        assert "merged fade" in shown
        assert "ada/one@v1, ada/two@v1" in shown

    def test_a_bad_value_is_refused_by_name(self, hubctl, lab):
        refused = hubctl("merge", "fade", "ada/one", "ada/two", "--decay", 7, "--to", "ada/faded")
        assert refused.code == 1
        assert "Decay: expected at most 1" in refused.err


class TestPages:
    def test_the_form_is_drawn_from_its_recipe_and_starts_it(self, lab, work):
        lab.pages.post("/merge/basket", {"toggle": "ada/one"})
        page = lab.pages.get("/merge?kind=fade").content.decode()
        assert 'name="choose" value="fade" aria-current="true"' in page
        assert 'name="decay"' in page
        assert escape(METHODS["fade"].summary) in page
        form = {"kind": "fade", "decay": "0.25", "inputs": ["ada/one@v1", "ada/two@v1"], "name": "faded"}
        refused = lab.pages.post("/merge", form | {"decay": "7"})
        assert refused.status_code == 422
        assert "Decay: expected at most 1" in refused.content.decode()
        checked = lab.pages.post("/merge", form | {"check": "1"})
        assert checked.context["report"]["rank"] == 6
        started = lab.pages.post("/merge", form | {"namespace": "ada"})
        pk = int(started["Location"].rpartition("/")[2])
        assert work(pk).state == "done"
        shown = lab.pages.get(f"/jobs/{pk}").content.decode()
        assert "Fading sum" in shown
        assert "Run again with changes" in shown

    def test_the_version_shows_its_card_its_report_and_how_it_was_made(self, lab, faded):
        assert "made by Fading sum" in lab.pages.get("/ada/faded").content.decode()
        report = lab.pages.get("/ada/faded/report/v1").content.decode()
        assert "<h2>Fading sum</h2>" in report
        assert "<h2>By module</h2>" in report
        assert "<dt>decay</dt><dd>0.25" in report
