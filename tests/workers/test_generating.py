"""From a text to an adapter: the rows, the bytes, what is kept, what adds up, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load

from composition.errors import CompositionError
from hub.errors import Conflict, Invalid
from hub.models import Companion, Job, JobFile, JobLog, Origin, Repository, State
from hub.services.content.manifest import manifest_of
from hub.storage import blobs
from tests.hub import asking, factories
from tests.workers.conftest import write_base

pytestmark = pytest.mark.django_db(transaction=True)
TEXT = "w1 w2 w3 w4 w5 w6 w7 w8 w9"
OTHER = "w20 w21 w22 w23 w20 w21 w24"


@pytest.fixture
def held(worker, base, tmp_path):
    """The pico base on the worker's disk."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    write_base(tmp_path / "bases" / "pico" / "llama", LlamaForCausalLM(LlamaConfig(**factories.PICO_CONFIG)))


@pytest.fixture
def generator(owner, base):
    return factories.make_generator(owner, base=base)


@pytest.fixture
def generate(owner, base, generator):
    def generate(*texts, name="doc", **options):
        context = [text if isinstance(text, dict) else {"name": "a.txt", "text": text} for text in texts]
        given = {"base": base, "output": ("ada", name), "files": {"context": context} if texts else {}, **options}
        given["recipe"] = {"dtype": "float32", "window": 8, **given.get("recipe", {})}
        return asking.queue_job(actor=owner, kind="generate", **given)

    return generate


@pytest.fixture
def made(held, generate, work):
    """The version of a generation that went well."""

    def made(*texts, **options):
        job = work(generate(*texts, **options))
        assert (job.state, job.error) == (State.DONE, None)
        return job.result

    return made


def updates(version):
    """ΔW of every module, one after the other."""
    with blobs.open(manifest_of(version.revisions.get())["adapter_model.safetensors"].sha256) as stream:
        tensors = load(stream.read())
    stems = sorted(name.removesuffix(".lora_A.weight") for name in tensors if name.endswith("lora_A.weight"))
    return torch.cat([(tensors[f"{s}.lora_B.weight"] @ tensors[f"{s}.lora_A.weight"]).flatten() for s in stems])


def distance(one, two):
    return float((updates(one) - updates(two)).norm() / updates(one).norm())


def test_a_text_becomes_an_adapter_private_by_default(made, generator, base):
    version = made(TEXT)
    assert (version.origin, version.repository.visibility, version.base) == (Origin.GENERATED, "private", base)
    assert version.facts["peft_type"] == "LORA"
    assert [row.parent for row in version.parentage.all()] == [generator]
    (document,) = version.report["documents"]
    assert (document["tokens"], document["boundaries"]) == (9, [[0, 5], [5, 9]])
    assert not Companion.objects.filter(repository=version.repository).exists()
    assert list(JobFile.objects.values_list("role", "blob")) == [("context", None)]


def test_the_adapter_is_what_the_generator_writes(made, generator, worker, base, tmp_path):
    from composition.generative import generate as reference
    from composition.generative import load_generator
    from composition.recipes import GenerateRecipe

    version = made(TEXT)
    for name, data in factories.generator_files().items():
        (tmp_path / name).write_bytes(data)
    model, tokenizer = worker.models.get(base)
    result = reference(model, tokenizer, load_generator(tmp_path), TEXT, GenerateRecipe(dtype="float32", window=8))
    wanted = torch.cat([(f.B @ f.A).flatten() for _, f in sorted(result.weights.items())])
    assert torch.allclose(updates(version), wanted, rtol=1e-6, atol=1e-8)


def test_the_same_text_gives_the_same_bytes(made):
    first, second = made(TEXT, name="one"), made(TEXT, name="two")
    assert first.content_digest == second.content_digest


def test_neither_words_nor_names_of_a_text_are_told(made):
    version = made({"name": "layoffs.md", "text": TEXT})
    with blobs.open(manifest_of(version.revisions.get())["README.md"].sha256) as stream:
        card = stream.read().decode()
    log = " ".join(JobLog.objects.values_list("text", flat=True))
    for told in (json.dumps(version.report), card, log, Job.objects.get().message):
        assert "layoffs" not in told and "w5 w6" not in told
    assert version.report["documents"][0]["sha256"] in card


def test_text_and_state_are_kept_privately_where_asked(made):
    version = made({"name": "doc.md", "text": TEXT}, keep=["state", "context"], visibility="public")
    rows = {row.kind: row for row in Companion.objects.filter(repository=version.repository)}
    assert (rows["context"].name, rows["state"].name) == ("v1/doc.md", "v1.safetensors")
    assert {row.visibility for row in rows.values()} == {"private"}
    assert version.repository.visibility == "public"
    with blobs.open(rows["context"].blob_id) as stream:
        assert stream.read().decode() == TEXT


def test_a_text_is_added_to_a_kept_state_and_taken_away_again(made):
    first = made(TEXT, name="first", keep=["state"])
    other = made(OTHER, name="other", keep=["state"])
    both = made(OTHER, name="both", others={"onto": first}, keep=["state"])
    at_once = made({"name": "1.txt", "text": TEXT}, {"name": "2.txt", "text": OTHER}, name="at-once")
    back = made(name="back", others={"onto": both, "without": other})
    assert both.report["summary"]["tokens_in_all"] == 16
    assert distance(both, at_once) < 1e-6
    assert distance(both, first) > 1e-2
    assert distance(back, first) < 1e-6
    assert back.report["summary"]["tokens_in_all"] == 9
    with pytest.raises(Invalid) as refusal:
        made(name="none", others={"onto": first, "without": other})
    assert refusal.value.code == "state.not_part"


def test_texts_add_up_in_any_order(made):
    one, two = {"text": TEXT}, {"text": OTHER}
    ahead = made({"name": "1.txt", **one}, {"name": "2.txt", **two}, name="ahead")
    behind = made({"name": "2.txt", **one}, {"name": "1.txt", **two}, name="behind")
    assert distance(ahead, behind) < 1e-6


def test_the_strictest_of_generator_and_wish_decides(made, generator):
    Repository.objects.filter(pk=generator.repository_id).update(visibility="private")
    assert made(TEXT, visibility="public").repository.visibility == "private"


def test_a_private_result_does_not_go_into_a_public_repository(generate, owner, base):
    factories.make_version(owner, "open", base=base)
    with pytest.raises(Invalid) as refusal:
        generate(TEXT, name="open")
    assert refusal.value.code == "output.too_public"
    assert "private unless you ask" in refusal.value.message
    assert generate(TEXT, name="open", visibility="public").output_visibility == "public"


def test_the_newest_generator_one_can_see_is_taken_own_ones_first(generate, generator, base):
    eve = factories.make_user("eve")
    factories.make_generator(eve, "newer", base=base, seed=2)
    factories.make_generator(eve, "hidden", base=base, seed=3, visibility="private")
    assert generate(TEXT).inputs.get(role="generator").version == generator
    Repository.objects.filter(pk=generator.repository_id).update(deleted_at="2026-01-01T00:00:00Z")
    assert str(generate(TEXT, name="next").inputs.get(role="generator").version) == "eve/newer@v1"


def test_a_base_without_a_generator_says_how_to_train_one(owner, base):
    asked = {"kind": "generate", "recipe": {}, "base": base, "output": ("ada", "doc"), "files": {"context": TEXT}}
    with pytest.raises(Invalid, match="hubctl generator train --base pico/llama") as refusal:
        asking.queue_job(actor=owner, **asked)
    assert refusal.value.code == "generate.no_generator"
    report = asking.check_job(actor=owner, **asked)
    assert [problem["code"] for problem in report["problems"]] == ["generate.no_generator"]


def test_a_generator_of_another_base_is_refused(generate, owner):
    other = factories.make_base("pico/next")
    with pytest.raises(Invalid) as refusal:
        generate(TEXT, others={"generator": factories.make_generator(owner, "far", base=other, base_name="pico/next")})
    assert refusal.value.code == "generator.other_base"
    with pytest.raises(Invalid, match="give generators here"):
        generate(TEXT, others={"generator": factories.make_version(owner, "plain")})


@pytest.mark.parametrize(
    ("context", "code"),
    [
        (None, "generate.empty"),
        ([], "generate.empty"),
        ("  \n", "document.empty"),
        ("\ufffd\u0001" * 40, "generate.binary"),
        ({"name": "x.docx", "base64": "UEsDBAo="}, "document.binary"),
        ({"name": "x.txt", "base64": "U3RyYd9l"}, "document.encoding"),
        ({"name": "x.txt", "base64": "???"}, "invalid"),
        ({"name": "x.txt"}, "invalid"),
        ({"name": 3, "text": "a"}, "invalid"),
        (["w1"] * 101, "invalid"),
    ],
)
def test_what_is_no_text_is_refused_before_a_job_is_made(generate, context, code):
    with pytest.raises((Invalid, CompositionError)) as refusal:
        generate(files={} if context is None else {"context": context})
    assert refusal.value.code == code
    assert not Job.objects.exists()


def test_a_text_that_is_too_long_by_any_count_is_refused_at_once(generate):
    with pytest.raises(CompositionError) as refusal:
        generate(TEXT * 50, recipe={"max_tokens": 10})
    assert refusal.value.code == "generate.too_long"


def test_a_state_that_one_cannot_see_or_that_is_not_kept_is_refused(made, owner, base):
    shown = made(TEXT, keep=["state"], visibility="public")
    asked = {"kind": "generate", "recipe": {}, "base": base, "files": {"context": OTHER}, "others": {"onto": shown}}
    with pytest.raises(Invalid) as refusal:
        asking.queue_job(actor=factories.make_user("eve"), **asked, output=("eve", "doc"))
    assert refusal.value.code == "generate.no_state"
    assert asking.queue_job(actor=owner, **asked, output=("ada", "more")).files.get(role="state").name == "onto"


def test_states_of_another_generator_do_not_add_up(made, owner, base):
    first = made(TEXT, keep=["state"])
    factories.make_generator(owner, "newer", base=base, seed=2)
    other = made(OTHER, name="other", keep=["state"], others={"generator": _version("newer")})
    with pytest.raises(Invalid) as refusal:
        made(name="none", others={"onto": first, "without": other})
    assert refusal.value.code == "state.other_generator"
    # Without a name, the generator behind the adapter is taken, not the newest.
    assert made(OTHER, name="both", others={"onto": first}).parentage.first().parent.repository.name == "gen"


def _version(name):
    return Repository.objects.get(name=name).versions.get()


def test_the_same_key_is_the_same_job_and_another_text_a_conflict(generate):
    first = generate(TEXT, idempotency_key="k")
    assert generate(TEXT, idempotency_key="k") == first
    for changed in ({"keep": ["state"]}, {"name": "other"}):
        with pytest.raises(Conflict):
            generate(TEXT, idempotency_key="k", **changed)
    with pytest.raises(Conflict):
        generate(OTHER, idempotency_key="k")


def test_a_check_tells_tokens_time_and_who_may_see_it(generate, owner, base, generator):
    asked = {"kind": "generate", "recipe": {}, "base": base, "output": ("ada", "doc"), "files": {"context": TEXT}}
    report = asking.check_job(actor=owner, **asked)
    assert report["ok"], report["problems"]
    assert (report["rank"], report["visibility"]) == (generator.facts["adapter_rank"], "private")
    assert report["files"][0]["tokens_about"] == 7
    assert report["notes"] == ["Written by ada/gen@v1."]
    assert "read out of it" in asking.check_job(actor=owner, **asked, visibility="public")["notes"][1]
    with pytest.raises(Invalid, match="can't keep 'seeds'"):
        generate(TEXT, keep=["seeds"])
    with pytest.raises(Invalid, match="takes no input with the role 'start'"):
        generate(TEXT, others={"start": generator})
