"""`hubctl run`: every kind the hub lists is usable by its name, and bad requests are refused before a job starts."""

import json

import pytest
from click import Context

from composition.recipes import recipe_fields
from composition.registry import METHODS as EVERY
from hub.models import Job
from hubctl.commands.work.run import run_kind
from hubctl.options.recipes import options_of
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)
BOTH = ("ada/one@v1", "ada/two")


@pytest.fixture
def pair(ada, base):
    return [factories.make_version(ada, name, base=base, seed=seed) for seed, name in enumerate(("one", "two"))]


@pytest.fixture
def seeds(tmp_path):
    path = tmp_path / "five.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n} + 1 =", "completion": str(n + 1)}) + "\n" for n in range(5)))
    return path


METHODS = {kind: method for kind, method in EVERY.items() if method.offered}


def test_its_help_lists_every_kind_and_what_it_does(hubctl, served):
    shown = " ".join(hubctl("run", "--help").out.split())
    assert all(f"{kind} {method.summary}" in shown for kind, method in METHODS.items())


@pytest.mark.parametrize("kind", METHODS)
def test_the_options_of_a_kind_are_the_fields_of_its_recipe(hubctl, served, kind):
    fields = recipe_fields(METHODS[kind].recipe)
    shown = hubctl("run", kind, "--help").out
    assert all(f"--{field['name'].replace('_', '-')}" in shown for field in fields)
    own = {name for param in run_kind.params for name in (param.name, *param.opts)}
    hidden = [option.name for option in options_of(fields) if own & {option.name, *option.opts}]
    assert not hidden, f"`hubctl run {kind}` can't set {hidden}: its own options bear these names"


def test_help_without_a_hub_says_why_it_is_short(hubctl, monkeypatch):
    monkeypatch.setenv("HUBCTL_URL", "http://127.0.0.1:9")
    shown = hubctl("run", "--help")
    assert (shown.code, "can't be reached" in shown.out) == (0, True)
    assert hubctl("run", "lego", *BOTH, "--to", "ada/both").code == 6


def test_a_merge_is_run_waited_for_and_pulled(hubctl, signed_in, pair, worker, tmp_path):
    done = hubctl("run", "svd", *BOTH, "--rank", 3, "--weights", "1,0.5", "--to", "ada/both", "--wait", "--json")
    assert done.code == 0, done.err
    assert (done.json["result"], done.json["recipe"]["weights"]) == ("ada/both@v1", [1.0, 0.5])
    assert hubctl("pull", "ada/both@v1", "-o", tmp_path / "out").code == 0
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["r"] == 16  # layout auto: 3 is misread


def test_it_is_the_same_job_as_the_kinds_own_command_makes(hubctl, signed_in, pair):
    given = [*BOTH, "--rank", 3, "--to", "ada/both", "--private", "--idempotency-key", "k", "--json"]
    own, run = hubctl("merge", "svd", *given), hubctl("run", "svd", *given)
    assert (own.code, run.code) == (0, 0), run.err
    assert run.json["id"] == own.json["id"]
    assert Job.objects.get().output_visibility == "private"


def test_a_check_starts_nothing(hubctl, signed_in, pair):
    fine = hubctl("run", "svd", *BOTH, "--rank", 2, "--to", "ada/both", "--check")
    assert (fine.code, "fits: rank 2" in fine.out) == (0, True)
    unfit = hubctl("run", "svd", *BOTH, "--rank", 4000, "--to", "ada/both", "--check", "--json")
    assert (unfit.code, unfit.json["ok"]) == (1, False)
    assert not Job.objects.exists()


def test_data_and_a_base_are_given(hubctl, signed_in, pair, ada):
    factories.publish(ada, factories.make_repository(ada, "sums", kind="dataset"), factories.dataset_files(9))
    given = ["run", "evaluate", "--dataset", "ada/sums", "--limit", 3, "--json"]
    measured = hubctl(*given, "ada/one")
    assert (measured.json["inputs"], measured.json["datasets"]) == (["ada/one@v1"], ["datasets/ada/sums@v1"]), (
        measured.err
    )
    bare = hubctl(*given, "--base", "pico/llama")
    assert (bare.json["base"], bare.json["inputs"]) == ("pico/llama", []), bare.err
    two = hubctl(*given, "ada/one", "--dataset", "ada/sums@v1")
    assert (two.code, two.out) == (1, "")


def test_private_files_go_with_it_or_are_taken_from_beside_the_adapter(hubctl, signed_in, pair, seeds):
    factories.make_base("pico/next")
    given = ["run", "trans-lora", "ada/one", "--base", "pico/next", "--to", "ada/moved", "--filter", "none", "--json"]
    sent = hubctl(*given, "--file", f"seeds={seeds}")
    assert sent.code == 0, sent.err
    assert [(file["role"], file["facts"]["rows"]) for file in sent.json["files"]] == [("seeds", 5)]
    assert hubctl("seeds", "add", "ada/one", seeds).code == 0
    kept = hubctl(*given, "--file", "seeds=companion:five.jsonl")
    assert kept.json["files"][0]["digest"] == sent.json["files"][0]["digest"]


def test_inputs_with_a_role_and_what_to_keep(hubctl, signed_in, base, ada, tmp_path):
    factories.make_generator(ada, base=base)
    (tmp_path / "a.txt").write_text("Words.")
    given = ["--file", f"context={tmp_path / 'a.txt'}", "--keep", "state", "--keep", "context", "--to", "ada/doc"]
    queued = hubctl("run", "generate", "--base", "pico/llama", "--role", "generator=ada/gen@v1", *given, "--json")
    assert queued.code == 0, queued.err
    assert queued.json["others"] == {"generator": "ada/gen@v1"}
    assert sorted(queued.json["keep"]) == ["context", "state"]
    assert Job.objects.get().output_visibility == "private"
    shown = hubctl("run", "generate", "--base", "pico/llama", *given, "--public", "--check")
    assert "result public" in shown.out, shown.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense", *BOTH), "'nonsense' is not a kind of job here; this hub has lego, "),
        (("svd", *BOTH, "--to", "ada/x", "--nonsense", "1"), "No such option"),
        (("svd", *BOTH, "--to", "ada/x", "--rank", "many"), "not a valid integer"),
        (("svd", *BOTH, "--to", "ada/x", "--private", "--public"), "not both"),
        (("generate", "--to", "ada/x", "--role", "ada/gen"), "'ada/gen' is not ROLE=NAME[@REF]"),
        (("generate", "--to", "ada/x", "--role", "=ada/gen"), "'=ada/gen' is not ROLE=NAME[@REF]"),
        (("generate", "--to", "ada/x", "--role", "generator="), "'generator=' is not ROLE=NAME[@REF]"),
        (("generate", "--to", "ada/x", "--role", "onto=a/b", "--role", "onto=a/c"), "twice"),
        (("generate", "--to", "ada/x", "--role", "output=a/b"), "'output' is not a role"),
        (("generate", "--to", "ada/x", "--role", "idempotency_key=a/b"), "'idempotency_key' is not a role"),
        (("generate", "--to", "ada/x", "--file", "doc.txt"), "'doc.txt' is not ROLE=PATH"),
        (("generate", "--to", "ada/x", "--file", "context=a", "--file", "context=b"), "twice"),
    ],
)
def test_wrong_usage(hubctl, signed_in, pair, arguments, says):
    refused = hubctl("run", *arguments)
    assert (refused.code, says in refused.err) == (2, True), refused.err
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("cat", *BOTH), 1, "where it goes: namespace/name"),
        (("cat", *BOTH, "--to", "both"), 1, "namespace/name"),
        (("cat", "ada/one", "ada/none", "--to", "ada/x"), 4, "ada/none"),
        (("trans-lora", "ada/one", "--to", "ada/x", "--file", "seeds=none.jsonl"), 1, "no such file here: none.jsonl"),
        (("cat", *BOTH, "--to", "ada/x", "--file", "seeds={seeds}"), 1, "seeds"),
        (("cat", *BOTH, "--to", "ada/x", "--role", "driver=ada/one"), 1, "driver"),
        (("cat", *BOTH, "--to", "ada/x", "--keep", "secrets"), 1, "secrets"),
    ],
)
def test_what_the_hub_or_a_file_here_refuses(hubctl, signed_in, pair, seeds, arguments, code, says):
    refused = hubctl("run", *(argument.replace("{seeds}", str(seeds)) for argument in arguments))
    assert (refused.code, says in refused.err) == (code, True), refused.err
    assert not Job.objects.exists()


def test_who_is_not_signed_in_is_told_so_before_files_are_read(hubctl, served):
    refused = hubctl("run", "trans-lora", "ada/one", "--to", "ada/x", "--file", "seeds=none.jsonl")
    assert (refused.code, "hubctl login" in refused.err) == (3, True)


def test_a_file_that_is_no_text(hubctl, signed_in, pair, tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe")
    refused = hubctl("run", "trans-lora", "ada/one", "--to", "ada/x", "--file", f"seeds={tmp_path / 'x.jsonl'}")
    assert (refused.code, "not UTF-8" in refused.err) == (1, True)


def test_options_of_its_own_win_over_fields_of_the_same_name():
    from hubctl.options.recipes import MethodCommand

    fields = [
        {"name": name, "type": "string", "help": "", "required": False, "default": None}
        for name in ("base", "dataset", "strength")
    ]
    command = MethodCommand("x", method={"kind": "x", "fields": fields}, params=list(run_kind.params))
    assert [option.name for option in command.drawn] == ["strength"]
    with Context(command) as ctx:
        command.parse_args(ctx, ["--base", "b", "--strength", "2"])
        given = dict(ctx.params)
        assert command.recipe_of(given) == {"strength": "2"}
        assert given["base"] == "b"
