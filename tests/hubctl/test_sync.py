"""`hubctl sync`: a folder that follows a tag, whole at every moment, and nobody else's files touched."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hub.services import refs, repositories, tokens
from hub.services.webhooks import registry, sending
from hubctl import client
from hubctl.errors import Refused, Unreachable
from hubctl.serving import listen, store, sync, watch
from tests.hub import factories
from tests.hubctl.conftest import Wire, make_token

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def dates(signed_in, base):
    """ada/dates with v1 (rank 2), v2 (rank 4), v3 (rank 8), and `production` at v1."""
    made = [factories.make_version(signed_in, "dates", base=base, rank=2)]
    for rank in (4, 8):
        made.append(factories.publish(signed_in, made[0].repository, factories.adapter_files(rank=rank)).version)
    move(signed_in, made[0])
    return made


def move(actor, version, tag="production"):
    refs.set_tag(actor=actor, repository=version.repository, name=tag, revision=version.revision)


def rank_of(folder: Path) -> int:
    return json.loads((folder / "adapter_config.json").read_text())["r"]


def changes(shown) -> dict[str, str]:
    return {row["name"]: row["change"] for row in shown.json["adapters"]}


def started(*words: object, **environment: str) -> subprocess.Popen:
    """`hubctl …` as a process of its own."""
    command = [sys.executable, "-m", "hubctl", *map(str, words)]
    kept = {"cwd": ROOT, "env": os.environ | environment, "text": True}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kept)


def until(true, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_the_folder_follows_the_tag(hubctl, signed_in, dates, tmp_path):
    out = tmp_path / "out"
    first = hubctl("sync", "ada/dates", out, "--tag", "production", "--json")
    assert (first.code, changes(first), rank_of(out / "ada/dates")) == (0, {"ada/dates": "added"}, 2)
    assert changes(hubctl("sync", "ada/dates", out, "--tag", "production", "--json")) == {"ada/dates": ""}
    old = (out / "ada/dates").resolve()
    move(signed_in, dates[1])
    moved = hubctl("sync", "ada/dates", out, "--tag", "production", "--json")
    assert (changes(moved), rank_of(out / "ada/dates")) == ({"ada/dates": "updated"}, 4)
    assert moved.json["adapters"][0]["version"] == "v2"
    assert not store.broken_files(old), "a reader that has the old version open keeps it"
    move(signed_in, dates[2])
    hubctl("sync", "ada/dates", out, "--tag", "production")
    assert rank_of(out / "ada/dates") == 8 and not old.exists()
    assert len(store.versions(out.resolve() / ".hubctl/versions", "ada/dates")) == 2
    refs.delete_tag(actor=signed_in, repository=dates[0].repository, name="production")
    gone = hubctl("sync", "ada/dates", out, "--tag", "production")
    assert (gone.code, "nothing named 'production'" in gone.err) == (1, True)
    assert not list(out.glob("ada")) and not store.versions(out.resolve() / ".hubctl/versions", "ada/dates")


def test_names_with_their_own_refs_stand_beside_each_other(hubctl, dates, tmp_path):
    assert hubctl("sync", "ada/dates", "ada/dates@v2", "ada/dates@production", tmp_path / "out").code == 0
    ranks = {path.name: rank_of(path) for path in (tmp_path / "out/ada").iterdir()}
    assert ranks == {"dates": 8, "dates@v2": 4, "dates@production": 2}


def test_a_namespace_and_a_base_give_what_has_the_tag(hubctl, signed_in, base, dates, tmp_path):
    factories.make_version(signed_in, "untagged", base=base, rank=2)
    other = factories.make_base("pico/other")
    move(signed_in, factories.make_version(signed_in, "sums", base=other, rank=2, base_name="pico/other"))
    options = ("--tag", "production", "--json")
    assert set(changes(hubctl("sync", "--namespace", "ada", tmp_path / "a", *options))) == {"ada/dates", "ada/sums"}
    assert set(changes(hubctl("sync", "--base", "PICO/llama", tmp_path / "b", *options))) == {"ada/dates"}
    both = hubctl("sync", "--base", "pico/other", "--namespace", "ada", tmp_path / "a", *options)
    assert changes(both) == {"ada/dates": "removed", "ada/sums": ""}
    assert hubctl("sync", tmp_path / "a").code == 2


def test_a_round_without_news_is_one_request_however_many_adapters(served, signed_in, base, dates, tmp_path):
    factories.make_version(signed_in, "sums", base=base, rank=2)
    hub, asked = client.Hub(served, make_token(signed_in)), []
    ask = hub.transport.json
    hub.transport.json = lambda method, path, **more: asked.append(path) or ask(method, path, **more)
    wanted = sync.Wanted(namespaces=("ada",))
    assert len(sync.sync(hub, tmp_path, wanted)["adapters"]) == 2 and len(asked) == 3
    asked.clear()
    assert len(sync.sync(hub, tmp_path, wanted)["adapters"]) == 2 and len(asked) == 1


def test_what_is_not_whole_yet_replaces_nothing(hubctl, signed_in, dates, tmp_path):
    assert hubctl("sync", "ada/dates@main", tmp_path).code == 0
    empty = factories.make_repository(signed_in, "begun")
    factories.push(signed_in, empty, {"README.md": b"# Soon"})
    refused = hubctl("sync", "ada/begun", tmp_path)
    assert (refused.code, "is no version yet" in refused.err) == (1, True)
    assert not (tmp_path / "ada/begun").exists()


def test_a_deleted_adapter_goes_and_what_sync_has_not_made_stays(hubctl, signed_in, base, dates, tmp_path):
    sums = factories.make_version(signed_in, "sums", base=base, rank=2)
    out = tmp_path / "out"
    mine = out / "ada/mine"
    mine.mkdir(parents=True)
    (mine / "file").write_text("mine")
    assert hubctl("sync", "--namespace", "ada", out).code == 0
    repositories.delete_repository(actor=signed_in, repository=sums.repository)
    assert changes(hubctl("sync", "--namespace", "ada", out, "--json"))["ada/sums"] == "removed"
    assert sorted(path.name for path in (out / "ada").iterdir()) == ["dates", "mine"]
    factories.make_version(signed_in, "mine", base=base, rank=2)
    refused = hubctl("sync", "ada/mine", "ada/dates", out)
    assert (refused.code, "was not made by sync" in refused.err) == (1, True)
    assert (mine / "file").read_text() == "mine" and rank_of(out / "ada/dates") == 8


def test_a_link_that_leads_elsewhere_is_not_written_through(hubctl, dates, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for folder in (out, elsewhere):
        folder.mkdir()
    (out / "ada").symlink_to(elsewhere)
    assert hubctl("sync", "ada/dates", out).code == 1
    assert not list(elsewhere.iterdir())


def test_a_private_adapter_needs_its_token_and_a_lost_token_removes_nothing(
    hubctl, signed_in, base, tmp_path, monkeypatch
):
    factories.make_version(signed_in, "secret", base=base, visibility="private", rank=2)
    out = tmp_path / "out"
    limited = tokens.create_token(actor=signed_in, name="server", scopes=["download"], repository="ada/secret")
    monkeypatch.setenv("HUBCTL_TOKEN", limited[1])
    assert hubctl("sync", "ada/secret", out).code == 0
    tokens.revoke_token(actor=signed_in, token=limited[0])
    assert hubctl("sync", "ada/secret", out).code == 3
    assert hubctl("logout").code == 0
    monkeypatch.delenv("HUBCTL_TOKEN")
    refused = hubctl("sync", "ada/secret", out)
    assert (refused.code, "private adapters would be removed" in refused.err) == (3, True)
    assert rank_of(out / "ada/secret") == 2
    assert hubctl("sync", "ada/secret", tmp_path / "new").code == 1


def test_a_disk_that_takes_nothing_is_told_in_a_sentence(hubctl, dates, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    refused = hubctl("sync", "ada/dates", tmp_path / "file")
    assert (refused.code, "can't be written" in refused.err) == (1, True)


def test_what_a_hub_calls_a_version_leads_nowhere_else():
    files = [{"path": "a", "sha256": "0" * 64, "size": 1}]
    for version in ("../../v1", "v1/..", "", "latest"):
        with pytest.raises(Refused, match="neither vN nor"):
            store.key_of({"version": version, "revision": version, "files": files})
    assert store.key_of({"version": "v12", "revision": "0" * 40, "files": files}).startswith("v12-")


def test_another_hub_does_not_empty_the_folder(hubctl, dates, wire, tmp_path):
    assert hubctl("sync", "ada/dates", tmp_path).code == 0
    refused = hubctl("sync", "ada/dates", tmp_path, "--url", wire.url)
    assert (refused.code, "was synced from" in refused.err, rank_of(tmp_path / "ada/dates")) == (1, True, 8)


def test_broken_bytes_are_fetched_again_beside(hubctl, dates, tmp_path):
    out = tmp_path / "out"
    hubctl("sync", "ada/dates", out)
    weights = out / "ada/dates" / WEIGHTS
    good, old = weights.read_bytes(), (out / "ada/dates").resolve()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert changes(hubctl("sync", "ada/dates", out, "--json")) == {"ada/dates": "mended"}
    assert weights.read_bytes() == good and (out / "ada/dates").resolve() != old
    (out / "ada/dates").unlink()
    assert changes(hubctl("sync", "ada/dates", out, "--json")) == {"ada/dates": "mended"}
    assert weights.read_bytes() == good


class Held(Wire):
    """A wire that holds the answers back once `most` bytes have come down, until it is `free`."""

    most, free = 0, None

    def _count(self, name: str, count: int) -> None:
        super()._count(name, count)
        if name == "down" and self.free and self.received > self.most:
            self.free.wait()


def idle(held: Held) -> bool:
    before = held.received
    time.sleep(0.2)
    return held.received == before


def test_killed_in_the_middle_it_goes_on_and_readers_keep_the_old(hubctl, signed_in, base, dates, served, tmp_path):
    large = factories.adapter_files(rank=4096, targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    size = len(large[WEIGHTS])
    assert size > 3 << 20
    factories.publish(signed_in, dates[0].repository, large)
    held, out = Held(served), tmp_path / "out"
    environment = {"HUBCTL_URL": held.url, "HUBCTL_TOKEN": make_token(signed_in)}
    assert started("sync", "ada/dates", out, "--tag", "production", **environment).wait() == 0
    held.most, held.free = held.received + size // 2, threading.Event()
    process = started("sync", "ada/dates", out, **environment)
    until(lambda: held.received > held.most)
    until(lambda: any(part.stat().st_size for part in out.glob(".hubctl/versions/ada/dates/*.part/*.part")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert rank_of(out / "ada/dates") == 2 and not store.broken_files((out / "ada/dates").resolve())
    (part,) = out.glob(".hubctl/versions/ada/dates/*.part/*.part")
    here = part.stat().st_size
    held.free.set()
    held.free = None
    until(lambda: idle(held))
    before = held.received
    again = started("sync", "ada/dates", out, "--json", **environment)
    said, _ = again.communicate()
    assert again.returncode == 0 and json.loads(said)["adapters"][0]["change"] == "updated"
    assert rank_of(out / "ada/dates") == 4096 and not store.broken_files((out / "ada/dates").resolve())
    assert held.received - before < size - here + 50_000, "what had come was not fetched again"
    assert not list(out.glob(".hubctl/versions/ada/dates/*.part"))
    held.listener.close()


@pytest.mark.slow
def test_stopped_at_any_step_it_is_whole_and_goes_on(hubctl, signed_in, dates, tmp_path, monkeypatch):
    """A run is stopped at its first change of the disk, another one at its second, and so on until one gets through."""
    steps = [(os, "replace"), (shutil, "rmtree"), (Path, "symlink_to"), (Path, "unlink"), (Path, "mkdir")]
    options = ("--tag", "production", "--keep", 0)
    for step in range(1, 60):
        out, done = tmp_path / str(step), [0]
        move(signed_in, dates[0])
        assert hubctl("sync", "ada/dates", out, *options).code == 0
        move(signed_in, dates[1])

        def stops(real, done=done, step=step):
            def once(*given, **named):
                done[0] += 1
                if done[0] == step:
                    raise KeyboardInterrupt
                return real(*given, **named)

            return once

        with monkeypatch.context() as patch:
            for module, name in steps:
                patch.setattr(module, name, stops(getattr(module, name)))
            code = hubctl("sync", "ada/dates", out, *options).code
        assert rank_of(out / "ada/dates") == 4 if code == 0 else rank_of(out / "ada/dates") in (2, 4)
        assert not store.broken_files((out / "ada/dates").resolve())
        assert hubctl("sync", "ada/dates", out, *options).code == 0
        assert rank_of(out / "ada/dates") == 4
        assert [path.name for path in (out / "ada").iterdir()] == ["dates"]
        if done[0] < step:
            break
    assert 8 < step < 59


def test_two_at_once_take_turns(signed_in, base, dates, served, tmp_path):
    factories.make_version(signed_in, "sums", base=base, rank=2)
    environment = {"HUBCTL_URL": served, "HUBCTL_TOKEN": make_token(signed_in)}
    both = [started("sync", "--namespace", "ada", tmp_path / "out", "--json", **environment) for _ in range(2)]
    said = [json.loads(process.communicate()[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(row["change"] for one in said for row in one["adapters"]) == ["", "", "added", "added"]
    for name in ("dates", "sums"):
        assert not store.broken_files((tmp_path / "out/ada" / name).resolve())


def test_a_reader_never_finds_half_an_adapter(served, signed_in, dates, tmp_path):
    hub, out, seen, stop = client.Hub(served, make_token(signed_in)), tmp_path / "out", set(), threading.Event()
    wanted = sync.Wanted(names=("ada/dates",), tag="production")
    sync.sync(hub, out, wanted)
    faults: list[str] = []

    def read() -> None:
        while not stop.is_set():
            folder = (out / "ada/dates").resolve()
            faults.extend(store.broken_files(folder))
            seen.add(rank_of(folder))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(6):
        move(signed_in, dates[turn % 3])
        sync.sync(hub, out, wanted, check=False)
    stop.set()
    reader.join()
    assert not faults and len(seen) > 1


@pytest.mark.slow
def test_what_has_no_such_form_is_left_out_unless_it_was_named(hubctl, signed_in, base, dates, tmp_path):
    from tests.hub.mixtures import make_mixture

    sums = factories.make_version(signed_in, "sums", base=base, rank=2, seed=1)
    make_mixture(signed_in, [dates[2], sums], tmp_path / "made")
    shown = hubctl("sync", "--namespace", "ada", tmp_path / "out", "--uniform")
    assert (shown.code, "left out: ada/mix" in shown.err) == (0, True)
    assert {path.name for path in (tmp_path / "out/ada").iterdir()} == {"dates", "sums"}
    named = hubctl("sync", "ada/mix", tmp_path / "out", "--uniform")
    assert (named.code, "failed: ada/mix" in named.err) == (1, True)


def test_forms_for_servers_that_need_them(hubctl, dates, tmp_path):
    assert changes(hubctl("sync", "ada/dates", tmp_path / "out", "--json")) == {"ada/dates": "added"}
    for change in ("updated", ""):
        shown = hubctl("sync", "ada/dates", tmp_path / "out", "--uniform", "--json")
        assert (changes(shown), rank_of(tmp_path / "out/ada/dates")) == ({"ada/dates": change}, 16)
    assert hubctl("sync", "ada/dates", tmp_path / "gguf", "--as", "gguf").code == 0
    assert [path.name for path in (tmp_path / "gguf/ada/dates").iterdir()] == ["adapter.gguf"]


def test_a_command_is_run_for_each_change(hubctl, signed_in, dates, tmp_path):
    words = 'echo "$HUBCTL_CHANGE $HUBCTL_NAME $HUBCTL_VERSION $HUBCTL_FOLDER" >> "%s"' % (tmp_path / "log")
    for version in (dates[0], dates[0], dates[1]):
        move(signed_in, version)
        assert hubctl("sync", "ada/dates", tmp_path / "out", "--tag", "production", "--run", words).code == 0
    place = tmp_path / "out/ada/dates"
    assert (tmp_path / "log").read_text() == f"added ada/dates v1 {place}\nupdated ada/dates v2 {place}\n"
    move(signed_in, dates[2])
    failed = hubctl("sync", "ada/dates", tmp_path / "out", "--tag", "production", "--run", "exit 3")
    assert (failed.code, "ended with 3" in failed.err) == (1, True)


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    connection.request("POST", "/", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_signed_event_wakes_it_and_no_other_does(signed_in, dates, served, tmp_path):
    _, secret = registry.add_webhook(actor=signed_in, namespace=signed_in.namespace, url="https://s.example.org/x")
    environment = {"HUBCTL_URL": served, "HUBCTL_TOKEN": make_token(signed_in), "HUBCTL_WEBHOOK_SECRET": secret}
    words = ("sync", "ada/dates", tmp_path / "out", "--tag", "production", "--listen", "0", "--every", "600")
    process = started(*words, **environment)
    try:
        url = process.stderr.readline().split()[-1]
        until(lambda: (tmp_path / "out/ada/dates").exists())
        process.stdout.readline()
        move(signed_in, dates[1])
        body = json.dumps({"event": "tag.set"}).encode()
        good = sending.signed(secret, "an-id", int(time.time()), body)
        old = sending.signed(secret, "an-id", int(time.time()) - 3600, body)
        other = sending.signed("whsec_" + "QUFB" * 8, "an-id", int(time.time()), body)
        for headers, sent in (({}, body), (old, body), (other, body), (good, body + b" ")):
            assert post(url, sent, headers) == 401
        assert post(url, b"", {"Content-Length": str(1 << 30)}) == 413
        time.sleep(0.3)
        assert rank_of(tmp_path / "out/ada/dates") == 2
        assert post(url, body, good) == 204
        until(lambda: rank_of(tmp_path / "out/ada/dates") == 4)
    finally:
        process.kill()
        process.communicate()


def test_listening_needs_a_secret_and_a_free_port(hubctl, dates, tmp_path, monkeypatch):
    for secret in ("", "password", "whsec_%%"):
        monkeypatch.setenv("HUBCTL_WEBHOOK_SECRET", secret)
        refused = hubctl("sync", "ada/dates", tmp_path, "--listen", "0")
        assert (refused.code, "HUBCTL_WEBHOOK_SECRET" in refused.err) == (1, True)
    with pytest.raises(Refused, match="free port"), listen.listening("99999999", "whsec_QUFB", threading.Event()):
        pass


def test_watching_slows_down_while_the_hub_is_away_and_goes_on():
    turns, waits = iter([Unreachable("away"), Unreachable("away"), None, Refused("no"), None]), []

    class Wake(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)

    def turn(first: bool) -> None:
        if (error := next(turns)) is not None:
            raise error

    watch.again_and_again(turn, every=10, wake=Wake(), said=lambda *_: None, stop=lambda: len(waits) == 4)
    paces = [10 * factor for factor in (2, 4, 1, 2)]
    assert all(pace * 0.89 < wait < pace * 1.11 for wait, pace in zip(waits, paces, strict=True))
    assert watch.pause(30, 50) == 600 and watch.pause(1000, 3) == 1000

    def refuse(first: bool) -> None:
        raise Refused("the first turn tells of a mistake")

    with pytest.raises(Refused):
        watch.again_and_again(refuse, every=1, wake=threading.Event(), said=lambda *_: None)
