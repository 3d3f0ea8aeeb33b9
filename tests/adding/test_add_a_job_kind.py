"""Steps of docs/architecture.md, "Add a job kind": the toy `scale`, laid over the tree, through every door."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from composition.recipes.base import Recipe
from composition.recipes.method import Method, Needs
from composition.registry import METHODS, Homes, registered
from hub.services.jobs import kinds as hub_kinds
from tests.adding import overlay
from tests.adding.reference import folder_of, on_model, peft_updates, same, updates
from tests.hub import factories
from tests.hub.api_client import problem
from workers import kinds as worker_kinds
from workers.kinds import WorkerKind

ROOT = Path(__file__).resolve().parents[2]
HERE = {"kind": "scale", "recipe": {"factor": -1.5}, "inputs": ["ada/one"], "output": "ada/scaled"}
BAD = [
    ({"recipe": {"factor": 0}}, "recipe.invalid", "factor"),
    ({"recipe": {"factor": 1000}}, "recipe.invalid", "factor"),
    ({"recipe": {"factor": 2, "rank": 4}}, "recipe.invalid", "rank"),
    ({"inputs": ["ada/one", "ada/two"]}, "invalid", "inputs"),
    ({"inputs": ["ada/dora"]}, "scale.needs_base", None),
    ({"datasets": ["ada/sums"]}, "invalid", "datasets"),
    ({"output": "ada/one"}, "invalid", "output"),
    ({"output": None}, "invalid", "output"),
    ({"recipe": {"factor": 0}, "inputs": ["ada/dora"], "output": "ada/one"}, "recipe.invalid", "factor"),
]


def test_it_takes_four_files_beside_a_test():
    assert overlay.files("toy_kind") == [
        "composition/recipes/scale.py",
        "composition/scale.py",
        "hub/services/jobs/kinds/scale.py",
        "workers/kinds/scale.py",
    ]


def test_the_tables_find_its_modules_and_the_hub_loads_no_torch_for_them():
    """In a process of its own, which starts with the toy's folders in place."""
    code = (
        "import os, sys, composition.recipes as recipes; os.environ['DJANGO_SETTINGS_MODULE'] = 'hub.settings'\n"
        f"recipes.__path__.append({str(overlay.tree('toy_kind') / 'composition/recipes')!r})\n"
        "import django; django.setup()\n"
        "import hub.services.jobs.kinds as kinds\n"
        f"kinds.__path__.append({str(overlay.tree('toy_kind') / 'hub/services/jobs/kinds')!r})\n"
        "from composition.registry import METHODS\n"
        "assert type(kinds.kind_of('scale')).__name__ == 'Scale', METHODS\n"
        "assert 'scale' in METHODS and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("scale")
class TestRest:
    def test_it_is_listed_with_its_fields(self, lab):
        (listed,) = [method for method in lab.api.get("/methods").json() if method["kind"] == "scale"]
        (field,) = listed["fields"]
        assert (field["name"], field["type"], field["default"]) == ("factor", "number", 0.5)
        assert (listed["verb"], listed["needs"]["min_inputs"], listed["needs"]["max_inputs"]) == ("scale", 1, 1)

    def test_the_dry_run_tells_cost_and_notes(self, lab):
        told = lab.api.post("/jobs/check", HERE).json()
        assert (told["ok"], told["rank"], told["notes"]) == (True, 4, [])
        assert told["bytes"] == lab.one.facts["bytes"]
        strong = lab.api.post("/jobs/check", HERE | {"recipe": {"factor": 9}}).json()
        assert strong["notes"] == ["A factor of 9 may drown the base; measure the result."]

    @pytest.mark.parametrize(("change", "code", "field"), BAD)
    def test_the_dry_run_and_the_start_refuse_alike(self, lab, change, code, field):
        dora = {"config": {"use_dora": True}, "targets": ("q_proj",), "tensors": dora_tensors()}
        factories.make_version(lab.user, "dora", base=lab.one.base, **dora)
        factories.publish(
            lab.user, factories.make_repository(lab.user, "sums", kind="dataset"), factories.dataset_files()
        )
        told = lab.api.post("/jobs/check", HERE | change).json()
        first, error = told["problems"][0], problem(lab.api.post("/jobs", HERE | change), 422, code)
        assert (told["ok"], first["code"], first["message"]) == (False, code, error["detail"])
        assert first.get("field") == error.get("field") == field


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("scale")
class TestResult:
    @pytest.fixture
    def scaled(self, lab, work):
        """The finished job of HERE."""
        done = work(lab.api.post("/jobs", HERE).json()["id"])
        assert (done.state, done.error) == ("done", None)
        return done

    def test_it_is_what_numpy_and_peft_make_of_it(self, lab, scaled, here):
        source, made = folder_of(here, lab.one), folder_of(here, scaled.result)
        expected = {module: -1.5 * update for module, update in updates(source).items()}
        assert same(updates(made), expected)
        loaded = on_model({"one": source, "scaled": made})
        theirs = {module: -1.5 * update for module, update in peft_updates(loaded, "one").items()}
        assert same(peft_updates(loaded, "scaled"), theirs)
        assert all(np.abs(update).max() > 0.01 for update in theirs.values())

    def test_it_is_a_version_with_recipe_parents_and_card(self, lab, scaled):
        version = lab.api.get("/repositories/ada/scaled/versions/v1").json()
        assert version["recipe"] == {"kind": "scale", "version": 1, "factor": -1.5}
        assert [parent["name"] for parent in version["parents"]] == ["ada/one@v1"]
        card = lab.api.get("/repositories/ada/scaled/files/v1/README.md")
        assert "made by Scaling" in b"".join(card.streaming_content).decode()
        log = [line["text"] for line in lab.api.get(f"/jobs/{scaled.pk}/log").json()["results"]]
        assert "Reading ada/one@v1" in log

    def test_the_version_and_its_report_have_pages(self, lab, scaled):
        assert "made by Scaling" in lab.pages.get("/ada/scaled").content.decode()
        report = lab.pages.get("/ada/scaled/report/v1").content.decode()
        assert "<h2>Scaling</h2>" in report
        assert "<dt>factor</dt><dd>-1.5" in report


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("scale")
class TestCommandLine:
    def test_it_is_run_by_its_name_and_its_own_options(self, hubctl, lab, work):
        assert "scale Makes an adapter stronger or weaker." in " ".join(hubctl("run", "--help").out.split())
        assert "--factor" in hubctl("run", "scale", "--help").out
        given = ["ada/one", "--factor", -9, "--to", "ada/scaled"]
        checked = hubctl("run", "scale", *given, "--check").out
        assert "fits: rank 4" in checked
        assert "note: A factor of -9 may drown the base" in checked
        queued = hubctl("run", "scale", *given, "--json")
        assert queued.code == 0, queued.err
        assert work(queued.json["id"]).state == "done"
        assert "merged scale" in hubctl("info", "ada/scaled").out

    def test_a_bad_value_is_refused_by_name(self, hubctl, lab):
        refused = hubctl("run", "scale", "ada/one", "--factor", 0, "--to", "ada/scaled")
        assert (refused.code, "Factor: 0 leaves nothing of the adapter." in refused.err) == (1, True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("scale")
class TestPages:
    def test_it_has_a_form_a_job_s_page_and_a_retry(self, lab, work):
        assert 'href="?kind=scale"' in lab.pages.get("/jobs/new").content.decode()
        page = lab.pages.get("/jobs/new?kind=scale").content.decode()
        assert 'name="factor"' in page
        assert "Makes an adapter stronger or weaker." in page
        form = {"kind": "scale", "factor": "-9", "inputs": "ada/one", "namespace": "ada", "name": "scaled"}
        refused = lab.pages.post("/jobs/new", form | {"factor": "0"})
        assert refused.status_code == 422
        assert "Factor: 0 leaves nothing of the adapter." in refused.content.decode()
        checked = lab.pages.post("/jobs/new", form | {"check": "1"})
        assert "may drown the base" in checked.content.decode()
        pk = int(lab.pages.post("/jobs/new", form)["Location"].rpartition("/")[2])
        waiting = lab.pages.get(f"/jobs/{pk}").content.decode()
        assert "No running worker can take this job." in waiting
        lab.pages.post(f"/jobs/{pk}/cancel")
        lab.pages.post(f"/jobs/{pk}/retry")
        assert work(pk).state == "done"
        shown = lab.pages.get(f"/jobs/{pk}").content.decode()
        assert "<h1>Scaling" in shown
        assert "<dt>factor</dt><dd>-9" in shown
        assert "ada/scaled@v1" in shown
        assert "<strong>scale</strong>" in lab.pages.get("/jobs").content.decode()


@pytest.mark.usefixtures("scale")
class TestTables:
    def test_two_methods_of_one_kind_are_refused(self):
        with pytest.raises(ValueError, match="two methods are called 'scale'"), registered(METHODS["scale"]):
            pass
        assert "scale" in METHODS

    @pytest.mark.parametrize("homes", [hub_kinds.HOMES, worker_kinds.HOMES], ids=["hub", "workers"])
    def test_two_homes_for_one_recipe_are_refused(self, homes):
        home = homes.of(METHODS["scale"])
        with pytest.raises(ValueError, match="has two homes for ScaleRecipe"), homes.registered(home):
            pass
        assert homes.of(METHODS["scale"]) is home

    def test_two_modules_with_a_home_for_one_recipe_are_refused(self, tmp_path):
        (tmp_path / "again.py").write_text("from workers.kinds.scale import HOME as HOME\n")
        worker_kinds.__path__.append(str(tmp_path))
        try:
            with pytest.raises(ValueError, match=r"workers\.kinds has two homes for ScaleRecipe"):
                Homes(worker_kinds, "HOME").all  # noqa: B018
        finally:
            worker_kinds.__path__.remove(str(tmp_path))
            sys.modules.pop("workers.kinds.again", None)
            vars(worker_kinds).pop("again", None)


class TestNoHome:
    @pytest.fixture
    def lonely(self):
        """A method that was added without its homes."""
        recipe = type("LonelyRecipe", (Recipe,), {"kind": "lonely"})
        row = Method(
            kind="lonely",
            verb="lonely",
            label="Lonely",
            summary="Has no home.",
            recipe=recipe,
            function="composition.merging.cat:cat",
            needs=Needs(min_inputs=0),
        )
        with registered(row):
            yield row

    @pytest.mark.parametrize("homes", [hub_kinds.HOMES, worker_kinds.HOMES], ids=["hub", "workers"])
    def test_a_method_without_a_home_fails_by_its_name(self, lonely, homes):
        with pytest.raises(LookupError, match="has no home for the method 'lonely'"):
            homes.of(lonely)

    def test_the_hub_says_so_when_it_is_asked_for(self, lonely):
        with pytest.raises(LookupError, match=r"hub\.services\.jobs\.kinds has no home for the method 'lonely'"):
            hub_kinds.kind_of("lonely")

    def test_a_home_for_a_family_serves_the_recipes_derived_from_it(self, lonely):
        home = WorkerKind(recipe=lonely.recipe, run=lambda attempt, worker: None)
        with worker_kinds.HOMES.registered(home):
            derived = type("Derived", (lonely.recipe,), {"kind": "derived"})
            row = dataclasses.replace(lonely, kind="derived", recipe=derived)
            assert worker_kinds.HOMES.of(row) is home


def dora_tensors() -> dict[str, np.ndarray]:
    """A DoRA adapter's tensors: it needs its base weight."""
    tensors = factories.adapter_tensors(targets=("q_proj",))
    magnitudes = {
        name.replace("lora_B.weight", "lora_magnitude_vector"): np.ones(len(tensor), dtype="float32")
        for name, tensor in tensors.items()
        if name.endswith("lora_B.weight")
    }
    return tensors | magnitudes
