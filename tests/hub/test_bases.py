"""Bases: registered by their config, found by the names tools write, and never guessed."""

import pytest

from hub.errors import Conflict, Invalid, QuotaExceeded
from hub.models import BaseModel, Job, State, Version
from hub.services import bases, known_bases
from tests.hub import factories
from tests.hub.factories import PICO_CONFIG, adapter_files, make_base, publish

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


def register(owner, name="pico/llama", **options):
    return bases.register_base(actor=owner, name=name, **{"config": PICO_CONFIG, **options})


def test_registering_queues_the_reading_of_its_shapes_once(owner):
    base, job = register(owner, source={"kind": "hf"})
    assert (base.shapes, base.source) == (None, {"kind": "hf"})
    assert (job.kind, job.base, job.state) == ("fingerprint", base, State.QUEUED)
    assert register(owner) == (base, job)
    known_bases.set_shapes(base=base, shapes=factories.pico_shapes(), fingerprint="f" * 64, parameters=7)
    assert register(owner) == (BaseModel.objects.get(), None)
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    "source",
    [{"kind": "hf", "path": "a/b"}, {"kind": "gguf", "package": "a", "unheard_of": 1}]
    + [{"kind": "folder", "path": path} for path in ("/etc", "../x", "a/../b", "a//b", "", ".", None, 3)]
    + [{"kind": "folder"}, {"kind": "url"}, {"path": "a/b"}, {"kind": "gguf", "package": 3}],
)
def test_a_source_names_a_package_or_a_folder_below_the_workers_own(owner, source):
    with pytest.raises(Invalid, match="HUB_BASES") as refusal:
        register(owner, source=source)
    assert refusal.value.code == "base.source"
    register(owner, revision="v2.1", source={"kind": "folder", "path": "pico/llama@v2.1"})


def test_a_failed_reading_is_asked_for_again(owner):
    _, job = register(owner)
    Job.objects.filter(pk=job.pk).update(state=State.FAILED)
    assert register(owner)[1].pk != job.pk


def test_another_config_under_the_same_name_is_refused_and_another_revision_is_not(owner):
    base, _ = register(owner)
    other = {**PICO_CONFIG, "num_hidden_layers": 3}
    with pytest.raises(Conflict, match="--revision"):
        register(owner, config=other)
    pruned, _ = register(owner, config=other, revision="pruned", derived_from=base, relation="pruned")
    assert (pruned.derived_from, str(pruned)) == (base, "pico/llama@pruned")
    assert BaseModel.objects.get(pk=base.pk).config == PICO_CONFIG


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"name": "llama"}, "name"),
        ({"name": "a/b/c"}, "name"),
        ({"name": "../x"}, "name"),
        ({"name": "/home/me/model"}, "name"),
        ({"revision": "a/b"}, "revision"),
        ({"config": {}}, "config"),
        ({"config": []}, "config"),
        ({"config": {**PICO_CONFIG, "auto_map": {"AutoModel": "evil.Model"}}}, "config"),
        ({"config": {**PICO_CONFIG, "x": {1, 2}}}, "config"),
        ({"config": {**PICO_CONFIG, "x": "y" * 1_000_001}}, "config"),
        ({"relation": "pruned"}, "relation"),
        ({"aliases": [""]}, "aliases"),
        ({"aliases": ["a\x00b"]}, "aliases"),
        ({"aliases": ["x" * 301]}, "aliases"),
        ({"aliases": [f"alias-{n}" for n in range(51)]}, "aliases"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_can_be_no_base_is_refused_with_its_field(owner, options, field):
    with pytest.raises((Invalid, QuotaExceeded)) as refusal:
        register(owner, **options)
    assert refusal.value.facts["field"] == field
    assert not BaseModel.objects.exists()
    assert not Job.objects.exists()


def test_an_unknown_relation_is_refused(owner):
    with pytest.raises(Invalid, match="quantized"):
        register(owner, "pico/b", derived_from=make_base(), relation="cousin")


def test_an_alias_stands_for_one_base(owner):
    base, _ = register(owner, aliases=["TheBloke/pico-gptq", "/models/pico"])
    register(owner, aliases=["/models/pico"])
    assert base.aliases.count() == 2
    for taken in ("/models/pico", "pico/LLAMA"):
        with pytest.raises(Conflict, match="pico/llama"):
            register(owner, "pico/other", aliases=[taken])
    assert BaseModel.objects.count() == 1


def test_shapes_once_known_never_change():
    base = make_base()
    with pytest.raises(Conflict):
        known_bases.set_shapes(base=base, shapes={"x": [1, 1]}, fingerprint="0" * 64, parameters=1)
    assert BaseModel.objects.get().shapes == factories.pico_shapes()


@pytest.mark.parametrize(
    ("said", "revision", "found"),
    [
        ("pico/llama", None, "main"),
        ("pico/llama", "pruned", "pruned"),
        ("PICO/Llama", None, "main"),
        ("/models/pico", None, "main"),
        ("pico/llama", "nowhere", None),
        ("llama", None, None),
        ("/home/x/llama", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_a_base_is_matched_by_name_and_revision_or_alias_and_never_guessed(owner, said, revision, found):
    base = make_base(created_by=owner)
    make_base(revision="pruned", derived_from=base, relation="pruned")
    bases.add_aliases(actor=owner, base=base, aliases=["/models/pico"])
    match = known_bases.match_base(said, revision)
    assert (match and match.revision) == found


class TestPushing:
    def test_the_base_comes_from_the_config(self, owner, repository):
        base = make_base()
        assert publish(owner, repository, adapter_files()).version.base == base

    def test_the_base_comes_from_an_alias(self, owner, repository):
        base = make_base(created_by=owner)
        bases.add_aliases(actor=owner, base=base, aliases=["unsloth/pico-bnb-4bit"])
        assert publish(owner, repository, adapter_files(base_name="unsloth/pico-bnb-4bit")).version.base == base

    @pytest.mark.parametrize("said", ["other/model", "/home/me/model", None])
    def test_an_unknown_base_says_what_was_found_what_there_is_and_what_to_do(self, owner, repository, said):
        make_base()
        with pytest.raises(Invalid) as refusal:
            publish(owner, repository, adapter_files(base_name=said))
        error = refusal.value
        assert (error.code, error.facts["given"], error.facts["known"]) == ("base.unknown", said, ["pico/llama"])
        assert "pico/llama" in error.message
        assert "hubctl base add" in error.message
        assert repr(said) in error.message or said is None
        assert not Version.objects.exists()

    def test_a_named_base_wins_over_the_config(self, owner, repository):
        make_base("other/model")
        pico = make_base()
        files = adapter_files(base_name="other/model")
        assert publish(owner, repository, files, base=pico).version.base == pico

    def test_a_base_named_once_is_kept_for_the_next_push(self, owner, repository):
        pico = make_base()
        publish(owner, repository, adapter_files(base_name="/home/me/model"), base=pico)
        second = publish(owner, repository, adapter_files(base_name="/home/me/model", seed=1))
        assert (second.version.number, second.version.base) == (2, pico)
        third = publish(owner, repository, {"README.md": b"# Card"})
        assert third.version == second.version

    def test_another_base_for_the_same_weights_is_another_version(self, owner, repository):
        first, second = make_base(), make_base("pico/pruned")
        publish(owner, repository, adapter_files())
        moved = publish(owner, repository, adapter_files(), base=second)
        assert (moved.created, moved.version.number, moved.version.base) == (True, 2, second)
        assert Version.objects.get(number=1).base == first
        assert publish(owner, repository, adapter_files(), base=second).created is False

    def test_a_base_whose_shapes_are_being_read_says_which_job_to_wait_for(self, owner, repository):
        base, job = register(owner)
        with pytest.raises(Invalid, match=f"job {job.pk}") as refusal:
            publish(owner, repository, adapter_files())
        assert (refusal.value.code, refusal.value.facts["job"]) == ("base.not_ready", job.pk)
        known_bases.set_shapes(base=base, shapes=factories.pico_shapes(), fingerprint="f" * 64, parameters=7)
        assert publish(owner, repository, adapter_files()).version.number == 1

    def test_a_base_whose_shapes_could_not_be_read_says_why(self, owner, repository):
        base, _ = register(owner)
        known_bases.set_shapes_error(base=base, error="model type pico is unknown.")
        with pytest.raises(Invalid, match="model type pico is unknown"):
            publish(owner, repository, adapter_files())

    def test_weights_that_do_not_fit_are_refused_with_the_offenders(self, owner, repository):
        base = make_base()
        base.shapes = {**base.shapes, "model.layers.1.self_attn.q_proj": [16, 24]}
        base.save()
        with pytest.raises(Exception, match=r"model\.layers\.1\.self_attn\.q_proj"):
            publish(owner, repository, adapter_files())
        assert not Version.objects.exists()
