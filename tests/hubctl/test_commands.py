"""Every command's answer and exit code."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pyotp
import pytest

from hub.models import Job
from hub.services.signing_in import second_factor
from hubctl.errors import EXIT_CODES
from tests.hub import factories
from tests.hubctl.conftest import make_token, write

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pair(ada, base):
    """Two adapters of ada's."""
    return [factories.make_version(ada, name, base=base, seed=seed) for seed, name in enumerate(("one", "two"))]


class TestExitCodes:
    def test_they_are_listed(self, hubctl):
        shown = hubctl("--help").out
        assert all(f"{code}  {meaning}" in shown for code, meaning in EXIT_CODES.items())

    def test_refused(self, hubctl, signed_in):
        assert hubctl("push", ".", "no-slash").code == 1

    @pytest.mark.parametrize(
        "arguments", [("push",), ("nonsense",), ("list", "--kind", "car"), ("list", "--limit", "x")]
    )
    def test_usage(self, hubctl, arguments):
        assert hubctl(*arguments).code == 2

    def test_not_signed_in(self, hubctl, served, adapter):
        for arguments in (("push", adapter, "ada/x"), ("whoami",), ("jobs", "list"), ("token", "list")):
            shown = hubctl(*arguments)
            assert shown.code == 3
            assert "hubctl login" in shown.err

    def test_a_wrong_token(self, hubctl, served, monkeypatch):
        monkeypatch.setenv("HUBCTL_TOKEN", "ah_" + "x" * 40)
        assert hubctl("whoami").code == 3

    def test_not_allowed(self, hubctl, served, ada, base, adapter, monkeypatch):
        monkeypatch.setenv("HUBCTL_TOKEN", make_token(factories.make_user("eve")))
        refused = hubctl("push", adapter, "ada/mine")
        assert refused.code == 3
        monkeypatch.setenv("HUBCTL_TOKEN", make_token(ada, ["read"]))
        refused = hubctl("push", adapter, "ada/mine")
        assert refused.code == 3
        assert "write" in refused.err

    def test_not_found(self, hubctl, signed_in):
        for arguments in (("info", "ada/none"), ("pull", "ada/none@v3", "-o", "x"), ("jobs", "show", "999")):
            assert hubctl(*arguments).code == 4

    def test_a_job_that_failed_or_was_cancelled(self, hubctl, signed_in, pair):
        started = hubctl("merge", "svd", "ada/one", "ada/two", "--rank", "2", "--to", "ada/both", "--json").json
        assert hubctl("jobs", "cancel", started["id"]).code == 0
        watched = hubctl("jobs", "watch", started["id"])
        assert watched.code == 5
        assert "cancelled" in watched.err

    def test_unreachable(self, hubctl, monkeypatch):
        monkeypatch.setenv("HUBCTL_URL", "http://127.0.0.1:9")
        shown = hubctl("list")
        assert shown.code == 6
        assert shown.err.count("\n") == 1
        assert "127.0.0.1:9" in shown.err

    def test_json_errors_are_json(self, hubctl, signed_in):
        shown = hubctl("info", "ada/none", "--json")
        assert shown.out == ""
        assert json.loads(shown.err)["exit_code"] == 4


class TestSigningIn:
    def test_with_a_password_and_the_token_is_kept_from_others(self, ada, served, folders):
        command = [sys.executable, "-m", "hubctl", "login", served, "--username", "ada", "--password-stdin"]
        done = subprocess.run(command, input=factories.PASSWORD + "\n", text=True, capture_output=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        path = folders / "config" / "hubctl" / "config.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_text())["token"].startswith("ah_")
        assert factories.PASSWORD not in path.read_text()

    def test_a_wrong_password(self, ada, served):
        command = [sys.executable, "-m", "hubctl", "login", served, "--username", "ada", "--password-stdin"]
        done = subprocess.run(command, input="wrong\n", text=True, capture_output=True, cwd=ROOT)
        assert done.returncode == 3
        assert "Traceback" not in done.stderr

    def test_a_second_factor_is_asked_for(self, ada, served, hubctl, monkeypatch):
        secret = second_factor.begin(user=ada)
        codes = second_factor.confirm(user=ada, code=pyotp.TOTP(secret).now())
        monkeypatch.setattr("click.prompt", lambda text, **_: {"Password": factories.PASSWORD}.get(text, codes[0]))
        assert hubctl("login", served, "--username", "ada").code == 0
        again = hubctl("login", served, "--username", "ada")
        assert again.code == 3 and "recovery code" in again.err
        assert hubctl("login", served, "--username", "ada", "--code", codes[1]).code == 0
        command = [sys.executable, "-m", "hubctl", "login", served, "--username", "ada", "--password-stdin"]
        options = {"input": factories.PASSWORD + "\n", "text": True, "capture_output": True, "cwd": ROOT}
        refused = subprocess.run(command, **options)
        assert refused.returncode == 3 and "--code" in refused.stderr
        assert subprocess.run([*command, "--code", codes[2]], **options).returncode == 0

    def test_whoami_and_logout(self, hubctl, signed_in):
        assert hubctl("whoami", "--json").json["username"] == "ada"
        hubctl("logout")
        assert hubctl("whoami").code == 3

    def test_a_token_goes_to_its_own_hub_only(self, hubctl, signed_in, monkeypatch):
        from hubctl.config import current

        assert current("http://elsewhere.example") == ("http://elsewhere.example", None)


class TestTokens:
    def test_made_listed_revoked(self, hubctl, signed_in, monkeypatch):
        made = hubctl("token", "create", "ci", "--scope", "read", "--json").json
        listed = {row["id"]: row for row in hubctl("token", "list", "--json").json}
        assert listed[made["id"]]["scopes"] == ["read"]
        assert "token" not in listed[made["id"]]
        assert hubctl("token", "revoke", made["id"]).code == 0
        monkeypatch.setenv("HUBCTL_TOKEN", made["token"])
        assert hubctl("whoami").code == 3

    def test_a_token_that_only_downloads_one_repository(self, hubctl, signed_in, base, adapter, monkeypatch, tmp_path):
        """It pulls that one, also where it is private; the rest is as for a stranger, and it starts nothing."""
        for name in ("ada/one", "ada/other"):
            assert hubctl("push", adapter, name, "--base", "pico/llama", "--private").code == 0
        made = hubctl("token", "create", "server", "--download", "--repository", "ada/one", "--json").json
        assert (made["scopes"], made["repository"], made["namespace"]) == (["download"], "ada/one", None)
        assert "ada/one" in hubctl("token", "list").out
        monkeypatch.setenv("HUBCTL_TOKEN", made["token"])
        assert hubctl("pull", "ada/one", "-o", tmp_path / "out").code == 0
        assert (tmp_path / "out" / "adapter_config.json").exists()
        assert hubctl("pull", "ada/other", "-o", tmp_path / "other").code == 4
        assert hubctl("jobs", "list").code == 3
        assert "ada/one" in hubctl("whoami").out

    @pytest.mark.parametrize("wrong", [["--download", "--scope", "read"], ["--namespace", "a", "--repository", "a/b"]])
    def test_options_that_do_not_go_together(self, hubctl, signed_in, wrong):
        assert hubctl("token", "create", "x", *wrong).code == 2


class TestBases:
    def test_added_from_a_folder_listed_and_read(self, hubctl, signed_in, worker, tmp_path):
        write(tmp_path / "model", {"config.json": json.dumps(factories.PICO_CONFIG).encode()})
        assert hubctl("base", "add", "pico/one", "--config", tmp_path / "model", "--wait").code == 0
        derived = ["--derived-from", "pico/one", "--relation", "quantized", "--alias", "pico-q4"]
        added = hubctl("base", "add", "pico/q4", "--config", tmp_path / "model/config.json", *derived, "--wait")
        assert added.code == 0, added.err
        found = {base["name"]: base for base in hubctl("base", "list", "--json").json}
        assert found["pico/q4"]["derived_from"] == "pico/one"
        assert found["pico/q4"]["aliases"] == ["pico-q4"]
        assert found["pico/one"]["ready"] is True

    def test_a_push_waits_for_the_shapes_of_its_base(self, hubctl, signed_in, worker, adapter, tmp_path):
        write(tmp_path / "model", {"config.json": json.dumps(factories.PICO_CONFIG).encode()})
        hubctl("base", "add", "pico/llama", "--config", tmp_path / "model")
        assert hubctl("push", adapter, "ada/a", "--json").json["version"] == "v1"

    def test_what_is_no_config(self, hubctl, signed_in, tmp_path):
        write(tmp_path / "model", {"config.json": b"[1"})
        refused = hubctl("base", "add", "pico/one", "--config", tmp_path / "model")
        assert refused.code == 1
        assert "not JSON" in refused.err


class TestLookingAround:
    def test_list_search_info(self, hubctl, signed_in, pair):
        assert {row["full_name"] for row in hubctl("list", "--json").json} == {"ada/one", "ada/two"}
        assert [row["full_name"] for row in hubctl("search", "two", "--json").json] == ["ada/two"]
        assert hubctl("list", "--limit", "1", "--json").json[0]["full_name"] == "ada/two"
        assert "ada/one  v1" in hubctl("list").out
        shown = hubctl("info", "ada/one@v1").out
        assert "q_proj, v_proj" in shown
        assert "pico/llama" in shown

    def test_tags_move_and_go(self, hubctl, signed_in, pair):
        assert hubctl("tag", "ada/one@v1", "prod").code == 0
        assert hubctl("info", "ada/one@prod", "--json").json["version"]["version"] == "v1"
        assert hubctl("tag", "ada/one", "prod", "--delete").code == 0
        assert hubctl("info", "ada/one@prod").code == 4

    def test_tags_are_protected_and_remember(self, hubctl, signed_in, pair, served):
        assert hubctl("tag", "protect", "ada/one", "pro*").code == 0
        assert hubctl("tag", "protect", "ada", "release").code == 0
        assert "all of ada" in hubctl("tag", "protect", "ada/one").out
        assert hubctl("tag", "ada/one@v1", "prod").code == 0
        assert hubctl("login", served, "--token", make_token(signed_in, ["read", "write"])).code == 0
        for moved in (("ada/one@v1", "prod"), ("ada/one", "prod", "--delete"), ("ada/two@v1", "release")):
            refused = hubctl("tag", *moved)
            assert refused.code and "ref.protected" in refused.err
        assert hubctl("tag", "unprotect", "ada/one", "pro*").code, "needs the scope admin"
        (move,) = hubctl("tag", "history", "ada/one", "prod", "--json").json
        assert (move["actor"], move["before"], move["after_version"]) == ("ada", "", "v1")
        assert hubctl("login", served, "--token", make_token(signed_in)).code == 0
        assert hubctl("tag", "unprotect", "ada/one", "pro*").code == 0
        assert hubctl("tag", "ada/one", "prod", "--delete").code == 0
        assert "v1" in hubctl("tag", "history", "ada/one", "prod").out.splitlines()[1]

    def test_deleted_and_restored(self, hubctl, signed_in, pair):
        assert hubctl("delete", "ada/one", "--yes").code == 0
        assert hubctl("info", "ada/one").code == 4
        assert hubctl("restore", "ada/one").code == 0
        assert hubctl("info", "ada/one").code == 0


class TestMerging:
    def test_the_methods_and_their_options_come_from_the_hub(self, hubctl, served):
        from composition.recipes import recipe_fields
        from composition.registry import methods_of

        shown = hubctl("merge", "--help").out
        for method in methods_of("merge"):
            assert method.kind in shown
            options = hubctl("merge", method.kind, "--help").out
            for field in recipe_fields(method.recipe):
                assert f"--{field['name'].replace('_', '-')}" in options

    def test_help_without_a_hub_says_why_it_is_short(self, hubctl, monkeypatch):
        monkeypatch.setenv("HUBCTL_URL", "http://127.0.0.1:9")
        shown = hubctl("merge", "--help")
        assert shown.code == 0
        assert "can't be reached" in shown.out

    def test_lego_is_merged_waited_for_and_pulled(self, hubctl, signed_in, pair, worker, tmp_path):
        options = ["--rank", "3", "--n-init", "2", "--weights", "1,0.5", "--to", "ada/both", "--wait", "--json"]
        done = hubctl("merge", "lego", "ada/one@v1", "ada/two", *options)
        assert done.code == 0, done.err
        assert done.json["result"] == "ada/both@v1"
        assert done.json["recipe"]["weights"] == [1.0, 0.5]
        assert hubctl("pull", "ada/both@v1", "-o", tmp_path / "out").code == 0
        made = json.loads((tmp_path / "out/adapter_config.json").read_text())
        assert (made["r"], made["lora_alpha"], made["rank_pattern"]) == (16, 16, {})  # LoRAX would misread rank 3
        again = hubctl("merge", "lego", "ada/one@v1", "ada/two", *options, "--layout", "compact")
        assert again.json["result"] == "ada/both@v2"
        assert hubctl("pull", "ada/both@v2", "-o", tmp_path / "out").code == 0
        assert json.loads((tmp_path / "out/adapter_config.json").read_text())["r"] == 3

    def test_the_same_key_is_the_same_job(self, hubctl, signed_in, pair):
        request = ["merge", "cat", "ada/one", "ada/two", "--to", "ada/both", "--idempotency-key", "k", "--json"]
        assert hubctl(*request).json["id"] == hubctl(*request).json["id"]
        assert Job.objects.count() == 1

    def test_a_bad_field_is_refused_by_name(self, hubctl, signed_in, pair):
        refused = hubctl("merge", "svd", "ada/one", "ada/two", "--rank", "0", "--to", "ada/both")
        assert refused.code == 1
        assert "Rank" in refused.err
        assert not Job.objects.exists()

    def test_check_starts_nothing(self, hubctl, signed_in, pair):
        fine = hubctl("merge", "svd", "ada/one", "ada/two", "--rank", "2", "--to", "ada/both", "--check")
        assert (fine.code, "fits" in fine.out) == (0, True)
        unfit = hubctl("merge", "svd", "ada/one", "ada/two", "--rank", "4000", "--to", "ada/both", "--check")
        assert (unfit.code, "4000" in unfit.out) == (1, True)
        assert not Job.objects.exists()


class TestJobs:
    def test_listed_shown_cancelled_retried(self, hubctl, signed_in, pair):
        job = hubctl("merge", "cat", "ada/one", "ada/two", "--to", "ada/both", "--json").json
        assert [row["id"] for row in hubctl("jobs", "list", "--state", "queued", "--json").json] == [job["id"]]
        shown = hubctl("jobs", "show", job["id"]).out
        assert "ada/one@v1, ada/two@v1" in shown
        assert "ada/both" in shown
        hubctl("jobs", "cancel", job["id"])
        assert hubctl("jobs", "retry", job["id"], "--json").json["state"] == "queued"

    def test_ctrl_c_leaves_the_job_and_says_how_to_watch_it(self, signed_in, pair, hubctl):
        job = hubctl("merge", "cat", "ada/one", "ada/two", "--to", "ada/both", "--json").json
        command = [sys.executable, "-m", "hubctl", "jobs", "watch", str(job["id"])]
        heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}  # also behind `&`
        watching = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ, **heeding)
        assert f"job {job['id']}" in watching.stderr.readline()
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=20)
        assert watching.returncode == 130
        assert f"hubctl jobs watch {job['id']}" in said
        assert Job.objects.get().state == "queued"


class TestMeasuring:
    def test_eval_needs_something_to_measure(self, hubctl, signed_in):
        assert hubctl("eval", "--dataset", "ada/sums").code == 2

    def test_eval_is_queued_with_its_recipe(self, hubctl, signed_in, pair, tmp_path):
        write(tmp_path / "sums", factories.dataset_files())
        hubctl("dataset", "push", tmp_path / "sums", "ada/sums")
        recipe = ["--metrics", "nll,exact_match", "--limit", "3"]
        job = hubctl("eval", "ada/one", "--dataset", "ada/sums", *recipe, "--json").json
        assert job["kind"] == "evaluate"
        assert job["recipe"]["metrics"] == ["nll", "exact_match"]
        assert job["recipe"]["limit"] == 3
        assert job["datasets"] == ["datasets/ada/sums@v1"]

    def test_compare_shows_what_is_measured(self, hubctl, signed_in, pair):
        assert hubctl("compare", "ada/one", "ada/two", "--json").json["columns"] == [
            "pico/llama",
            "ada/one@v1",
            "ada/two@v1",
        ]


def test_waiting_outlives_a_restart_of_the_hub(signed_in, pair, hubctl, served, monkeypatch):
    from hubctl.client import Hub
    from hubctl.errors import Unreachable

    job = hubctl("merge", "cat", "ada/one", "ada/two", "--to", "ada/both", "--json").json
    hub = Hub(served, make_token(signed_in))
    real, calls = hub.job, []

    def flaky(job_id):
        calls.append(time.monotonic())
        if len(calls) < 4:
            raise Unreachable("away")
        Job.objects.update(state="done")
        return real(job_id)

    monkeypatch.setattr(hub, "job", flaky)
    assert hub.wait(job["id"])["state"] == "done"
    assert len(calls) == 4


def test_a_pulled_version_keeps_the_card_it_had(hubctl, ada, base, tmp_path):
    repository = factories.make_repository(ada, "kept")
    factories.publish(ada, repository, factories.adapter_files(card="# Old"))
    factories.publish(ada, repository, {"README.md": b"# New"})
    for ref, card in (("@v1", "# Old"), ("", "# Old"), ("@latest", "# Old"), ("@main", "# New")):
        assert hubctl("pull", f"ada/kept{ref}", "-o", tmp_path / f"to{ref}").code == 0
        assert (tmp_path / f"to{ref}" / "README.md").read_text() == card, ref


def test_usage_is_shown_and_a_refusal_says_what_to_do(hubctl, signed_in, settings, tmp_path):
    settings.QUOTAS = {**settings.QUOTAS, "stored_bytes": 2_000_000, "tokens": 0}
    shown = hubctl("usage").out
    assert "stored bytes" in shown and "2.0 MB" in shown and "no limit" in shown
    names = [row["name"] for row in hubctl("usage", "ada", "--json").json["limits"]]
    assert names[0] == "stored_bytes" and "tokens" not in names
    assert hubctl("usage", "nobody").code == 4
    settings.QUOTAS = {**settings.QUOTAS, "stored_bytes": 10}
    folder = write(tmp_path / "rows", factories.dataset_files())
    refused = hubctl("dataset", "push", folder, "ada/rows")
    assert refused.code == 1 and "quota.stored_bytes" in refused.err and "ask an administrator" in refused.err
