"""A merge from the row to a folder that peft loads, without Celery: what comes out, what it says, what it refuses."""

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM

from composition.formats import read_adapter
from hub.models import Job, JobLog, Origin, Repository, Revision, State, Version, Visibility
from hub.services.content.manifest import manifest_of
from hub.storage import blobs
from tests.hub import asking, factories
from workers.cache import Cache

pytestmark = pytest.mark.django_db(transaction=True)


def files_of(version: Version, tmp_path):
    return Cache(tmp_path / "out", 10**9).folder(manifest_of(version.revisions.get()))


def test_a_lego_merge_is_published_and_loads_with_peft(queue, work, pair, base, owner, tmp_path):
    job = work(queue("lego", rank=4, seed=7))
    assert (job.state, job.error) == (State.DONE, None)
    assert (job.progress, job.lease_until) == (1.0, None)
    version = job.result
    assert str(version) == "ada/merged@v1"
    assert version.origin == Origin.MERGED
    assert version.recipe == job.recipe
    assert version.recipe["seed"] == 7
    assert [row.parent for row in version.parentage.all()] == pair
    assert version.base == base
    assert version.job == job
    assert version.environment["threads"] == 1
    assert version.report["modules"]
    folder = files_of(version, tmp_path)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)).eval()
    tokens = torch.arange(3, 11)[None]
    before = model(tokens).logits
    adapted = PeftModel.from_pretrained(model, str(folder)).eval()
    after = adapted(tokens).logits
    weights = read_adapter(folder)
    expected = LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)).eval()
    torch.manual_seed(0)
    expected = LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)).eval()
    for name, factors in weights.items():
        expected.get_submodule(name).weight.data += factors.delta()
    assert torch.allclose(after, expected(tokens).logits, atol=1e-5)
    assert not torch.allclose(after, before, atol=1e-3)


def test_the_card_names_parents_recipe_licence_and_how_to_load(queue, work, tmp_path):
    version = work(queue("svd", rank=3)).result
    card = (files_of(version, tmp_path) / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == "pico/llama"
    assert front["license"] == "mit"
    assert front["parents"] == ["ada/first@v1", "ada/second@v1"]
    assert front["recipe"]["rank"] == 3
    assert set(front["tags"]) >= {"lora", "svd"}
    assert "PeftModel.from_pretrained" in card
    assert version.repository.license == "mit"


def test_the_layout_is_the_recipes(queue, work, tmp_path):
    """Rank 3 is read wrongly by LoRAX; a recipe of before there were layouts still means the compact form."""
    made = {layout: work(queue("svd", rank=3, output=layout, layout=layout)).result for layout in ("compact", "auto")}
    old = queue("svd", rank=3, output="old")
    stored = {name: value for name, value in old.recipe.items() if name != "layout"}
    Job.objects.filter(pk=old.pk).update(recipe={**stored, "version": 1})
    made["old"] = work(Job.objects.get(pk=old.pk)).result
    ranks = {name: version.facts["ranks"] for name, version in made.items()}
    assert ranks == {"compact": [2, 3], "old": [2, 3], "auto": [16, 16]}
    weights = [manifest_of(made[name].revisions.get())["adapter_model.safetensors"] for name in ("compact", "old")]
    assert weights[0] == weights[1]
    compact, auto = (read_adapter(files_of(made[name], tmp_path / name)) for name in ("compact", "auto"))
    for module in compact:
        assert torch.allclose(compact[module].delta(), auto[module].delta(), atol=1e-6)
    cards = {name: (files_of(made[name], tmp_path / name) / "README.md").read_text() for name in made}
    wrong = "LoRAX and TGI, wrong: The update is ×0.375 on down_proj, v_proj. `hubctl pull ada/compact --uniform` makes"
    assert (
        wrong in cards["compact"] and "SGLang, refuses: Every module must have the config's rank 3" in cards["compact"]
    )
    assert "Read as in PEFT by vLLM 0.32 and newer, vLLM up to 0.31, SGLang, llama.cpp, LoRAX and TGI." in cards["auto"]


@pytest.mark.parametrize(("kind", "recipe"), [("lego", {"rank": 4}), ("svd", {"rank": 4}), ("cat", {})])
def test_the_same_job_twice_makes_the_same_bytes(queue, work, kind, recipe):
    first = work(queue(kind, output="one", **recipe)).result
    again = work(queue(kind, output="two", **recipe)).result
    weights = [manifest_of(version.revisions.get())["adapter_model.safetensors"] for version in (first, again)]
    assert weights[0] == weights[1]
    assert first.content_digest == again.content_digest


def test_a_second_result_becomes_the_next_version_and_an_equal_one_does_not(queue, work):
    assert work(queue("svd", rank=3)).result.number == 1
    assert work(queue("svd", rank=2)).result.number == 2
    again = work(queue("svd", rank=2))
    assert again.state == State.DONE
    assert again.result.number == 2


def test_a_merge_of_a_private_adapter_is_private(queue, work, pair, owner, base):
    secret = factories.make_version(owner, "secret", base=base, seed=3, visibility=Visibility.PRIVATE)
    job = work(queue("svd", rank=2, inputs=[pair[0], secret]))
    assert job.result.repository.visibility == Visibility.PRIVATE


def test_a_parent_that_turned_private_meanwhile_makes_the_result_private(queue, work, pair):
    job = queue("svd", rank=2)
    Repository.objects.filter(pk=pair[0].repository_id).update(visibility=Visibility.PRIVATE)
    assert work(job).result.repository.visibility == Visibility.PRIVATE


def test_a_user_s_error_fails_the_job_with_code_and_sentence(queue, work, owner):
    job = queue("svd", rank=2)
    # Between queueing and running somebody put another thing under the name.
    factories.make_repository(owner, "merged", kind="generator")
    job = work(job)
    assert job.state == State.FAILED
    assert job.error["code"] == "invalid"
    assert "generator" in job.error["message"]
    assert job.result is None


def test_our_own_error_gives_the_job_s_id_and_leaves_nothing(queue, work, monkeypatch, caplog):
    monkeypatch.setattr("composition.merging.svd.svd", lambda *_, **__: 1 / 0)
    job = work(queue("svd", rank=2))
    assert job.state == State.FAILED
    assert job.error["code"] == "internal"
    assert str(job.pk) in job.error["message"]
    assert "division" not in job.error["message"]
    assert "ZeroDivisionError" in caplog.text
    assert not Repository.objects.filter(name="merged").exists()


def test_a_publish_that_breaks_in_the_middle_leaves_nothing_half(queue, work, monkeypatch):
    revisions = Revision.objects.count()
    monkeypatch.setattr("hub.services.content.facets.refresh", lambda *_, **__: 1 / 0)
    job = queue("svd", rank=2)
    job = work(job)
    assert job.state == State.FAILED
    assert Revision.objects.count() == revisions
    assert not Repository.objects.filter(name="merged").exists()


def test_a_damaged_blob_is_found_before_it_is_read(queue, work, pair, worker):
    entry = manifest_of(pair[0].revisions.get())["adapter_model.safetensors"]
    path = blobs.local_path(entry.sha256)
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"\0" + good[1:])
    try:
        job = work(queue("svd", rank=2))
    finally:
        path.write_bytes(good)
    assert job.state == State.FAILED
    assert job.error["code"] == "internal"


def test_the_log_tells_the_story(queue, work):
    job = work(queue("lego", rank=4))
    text = "\n".join(JobLog.objects.filter(job=job).values_list("text", flat=True))
    assert "Reading ada/first@v1" in text
    assert "LoRA-LEGO of 2 adapters" in text


def test_a_fingerprint_job_reads_the_shapes(work, owner):
    base = factories.make_base("pico/other", ready=False)
    job = work(asking.queue_job(actor=owner, kind="fingerprint", recipe={}, base=base))
    base.refresh_from_db()
    assert (job.state, job.error) == (State.DONE, None)
    assert base.shapes["model.layers.0.self_attn.k_proj"] == [8, 16]
    assert base.parameters > 0


def test_an_unreadable_config_is_kept_as_the_base_s_error(work, owner):
    base = factories.make_base("pico/other", ready=False)
    base.config = {"model_type": "unheard_of"}
    base.save()
    job = work(asking.queue_job(actor=owner, kind="fingerprint", recipe={}, base=base))
    base.refresh_from_db()
    assert job.state == State.FAILED
    assert "unheard_of" in base.error


def test_a_private_parent_from_elsewhere_is_not_named_to_those_who_see_the_result(
    queue, work, owner, pair, base, tmp_path
):
    bob = factories.make_user("bob")
    vault = factories.make_organisation("vault", admin=bob, reader=owner)
    private = {"namespace": vault, "visibility": Visibility.PRIVATE}
    secret = factories.make_version(bob, "codename", base=base, seed=3, **private)
    version = work(queue("svd", rank=2, inputs=[pair[0], secret])).result
    card = (files_of(version, tmp_path) / "README.md").read_text()
    everything = card + str(version.report) + version.revisions.get().message
    assert "codename" not in everything
    assert "ada/first@v1" in everything
