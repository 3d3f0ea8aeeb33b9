"""Tables that several rooms hold must agree.

Three say which kinds of jobs there are: the registry, the hub's homes and the workers'. The client copies what the hub
lets one choose from, and the docs list it.
"""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from composition.formats import FORMATS, folder_rules
from composition.registry import METHODS
from hub import bounds
from hub.models import BaseModel, Kind, Origin, State, Token
from hub.queries.finding.listing import RELEVANCE, SORTS
from hub.queries.quota import LIMITS
from hub.services import administration
from hub.services.jobs import kinds as hub_kinds
from hub.services.webhooks.notices import EVENTS
from hubctl.commands import bases, repositories, tokens
from hubctl.commands.work import jobs
from hubctl.folders import rules as client_rules
from workers import kinds as worker_kinds

DOCS = Path(__file__).resolve().parents[1] / "docs"
MAKES = {"adapter": Kind.ADAPTER, "generator": Kind.GENERATOR}


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_has_a_home_in_the_hub_and_one_in_the_workers(kind):
    method = METHODS[kind]
    hub, worker = hub_kinds.HOMES.of(method), worker_kinds.HOMES.of(method)
    assert hub.recipe is worker.recipe
    assert issubclass(method.recipe, hub.recipe)


def test_hub_and_workers_know_the_same_families_of_recipes():
    assert set(hub_kinds.HOMES.all) == set(worker_kinds.HOMES.all)


def test_every_home_serves_a_method():
    served = {hub_kinds.HOMES.of(method).recipe for method in METHODS.values()}
    assert served == set(hub_kinds.HOMES.all)


def test_a_family_has_modules_of_one_name_in_both_rooms():
    """`hub/services/jobs/kinds/merge.py` and `workers/kinds/merge.py` are the homes of one family."""
    for recipe, worker in worker_kinds.HOMES.all.items():
        name = worker.run.__module__.rpartition(".")[2]
        assert import_module(f"hub.services.jobs.kinds.{name}").HOME.recipe is recipe


@pytest.mark.parametrize("kind", METHODS)
def test_row_home_and_function_say_the_same_of_the_result(kind):
    method = METHODS[kind]
    makes = hub_kinds.HOMES.of(method).makes
    if method.result in MAKES:
        assert makes == MAKES[method.result]
    assert callable(method.load())
    assert inspect.getmodule(method.recipe).METHODS, "the row stands beside its recipe"


def named_in(page: str) -> set[str]:
    """What a page of the docs names, with `a.b|c` read as a.b and a.c."""
    words = set(re.findall(r"`([^`\n]+)`", (DOCS / page).read_text()))
    for word in list(words):
        stem, _, rest = word.partition(".")
        words |= {f"{stem}.{end}" for end in rest.split("|")}
    return words


def test_the_docs_name_every_row():
    assert set(EVENTS) - {"ping"} <= named_in("webhooks.md")
    assert set(LIMITS) | set(re.findall(r'"(HUB_QUOTA_\w+)"', inspect.getsource(bounds))) <= named_in("quotas.md")
    acts = set(re.findall(r'"(admin\.\w+)"', inspect.getsource(administration)))
    assert len(acts) > 5 and acts <= named_in("administration.md")


def test_the_client_offers_every_value_that_the_hub_knows():
    """`hubctl` imports nothing of the hub, so its lists are copies."""
    offered = {name: set(kind.choices) for name, kind in repositories.FILTERS if hasattr(kind, "choices")}
    assert offered == {"--kind": set(Kind), "--origin": set(Origin), "--sort": {*SORTS, RELEVANCE}}
    assert set(jobs.STATES) == set(State)
    assert set(bases.RELATIONS) == set(BaseModel.Relation.values)
    assert set(tokens.SCOPES) == set(Token.Scope.values)


def test_the_client_leaves_out_what_the_hub_does():
    copy = inspect.getsource(folder_rules)
    assert Path(client_rules.__file__).read_text() == copy


def test_a_folder_makes_the_kind_of_its_format():
    for row in FORMATS.values():
        if row.files:
            assert folder_rules.kind_of([*row.files, "README.md"]) == row.holds
    assert folder_rules.kind_of(["train.jsonl", "README.md"]) == "dataset"
    assert folder_rules.kind_of(["README.md", "sub/adapter_config.json"]) is None
    for row in FORMATS.values():
        assert not any(folder_rules.left_out(path) for path in row.files), "content is never left out"
