"""Pushing and pulling: what arrives is what was sent, after a cut only the rest is sent, a refusal leaves nothing."""

import hashlib
import json

import httpx
import numpy as np
import pytest

from hub.models import ManifestEntry, Upload, Version
from hubctl import upload
from hubctl.client import Hub
from hubctl.download import local_path
from hubctl.errors import Refused, Unreachable
from hubctl.folders.pick import pick
from tests.hub import factories
from tests.hubctl.conftest import make_token, write

PROJECTIONS = [name.rpartition(".")[2] for name in factories.PICO_LINEARS]
pytestmark = pytest.mark.django_db(transaction=True)


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_what_is_pulled_is_what_was_pushed(hubctl, signed_in, base, adapter, tmp_path):
    pushed = hubctl("push", adapter, "ada/sentiment", "--base", "pico/llama", "-m", "first", "--json")
    assert pushed.code == 0, pushed.err
    assert pushed.json["version"] == "v1"
    assert pushed.json["created"] is True
    assert hubctl("pull", "ada/sentiment@v1", "-o", tmp_path / "out").code == 0
    assert digests(tmp_path / "out") == digests(adapter)


def test_pushing_the_same_again_changes_nothing(hubctl, signed_in, base, adapter):
    first = hubctl("push", adapter, "ada/sentiment", "--json").json
    again = hubctl("push", adapter, "ada/sentiment", "--json").json
    assert again == {**first, "created": False}
    assert Version.objects.count() == 1


def test_other_weights_are_another_version_and_a_ref_finds_each(hubctl, signed_in, base, adapter, tmp_path):
    hubctl("push", adapter, "ada/sentiment", "--tag", "prod")
    old = digests(adapter)
    write(adapter, factories.adapter_files(rank=4, seed=2))
    assert hubctl("push", adapter, "ada/sentiment", "--json").json["version"] == "v2"
    for ref, wanted in (("@v1", old), ("@prod", old), ("@v2", digests(adapter)), ("", digests(adapter))):
        out = tmp_path / f"out{ref}"
        assert hubctl("pull", f"ada/sentiment{ref}", "-o", out).code == 0
        assert digests(out) == wanted


def test_a_private_push_makes_a_private_repository(hubctl, signed_in, base, adapter, served, tmp_path):
    hubctl("push", adapter, "ada/secret", "--private")
    assert hubctl("info", "ada/secret", "--json").json["repository"]["visibility"] == "private"
    with pytest.raises(Exception, match="no repository 'ada/secret'") as caught:
        Hub(served).pull("ada/secret", tmp_path / "out")
    assert caught.value.exit_code == 4


def test_files_that_are_not_named_stay(hubctl, signed_in, base, adapter, tmp_path):
    hubctl("push", adapter, "ada/sentiment")
    card = write(tmp_path / "card", {"README.md": b"# A card\n"})
    result = hubctl("push", card, "ada/sentiment", "--json").json
    assert result["version"] == "v1", "a card alone is a new revision of the same version"
    assert set(ManifestEntry.objects.filter(revision__oid=result["revision"]).values_list("path", flat=True)) == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def test_hidden_and_cache_files_stay_at_home(tmp_path):
    write(tmp_path / "a", {"adapter_config.json": b"{}", ".git/x": b"x", "sub/.env": b"x", "__pycache__/y.pyc": b"x"})
    assert set(pick(tmp_path / "a").files) == {"adapter_config.json"}


class TestRefusals:
    def test_wrong_shapes_name_code_and_tensors(self, hubctl, signed_in, base, tmp_path):
        tensors = factories.adapter_tensors()
        tensors = {name: np.ones((4, 99), "float32") if "lora_A" in name else t for name, t in tensors.items()}
        folder = write(tmp_path / "wrong", factories.adapter_files(tensors=tensors))
        refused = hubctl("push", folder, "ada/wrong")
        assert refused.code == 1
        assert "99" in refused.err
        assert "q_proj" in refused.err
        assert len(refused.err.splitlines()) <= 6
        assert not Version.objects.exists()

    def test_pickles_are_refused_before_they_are_sent(self, hubctl, signed_in, base, tmp_path):
        folder = write(tmp_path / "old", {"adapter_config.json": b"{}", "adapter_model.bin": b"\x80\x02}q\x00."})
        refused = hubctl("push", folder, "ada/old", "--json")
        assert refused.code == 1
        assert json.loads(refused.err)["code"].startswith("content.")
        assert not Upload.objects.exists()

    def test_an_unknown_base_is_a_sentence_with_the_remedy(self, hubctl, signed_in, tmp_path):
        folder = write(tmp_path / "lost", factories.adapter_files(base_name="nobody/knows"))
        refused = hubctl("push", folder, "ada/lost")
        assert refused.code == 1
        assert "nobody/knows" in refused.err
        assert "hubctl base add" in refused.err

    def test_a_mended_push_sends_the_mended_file_only(self, hubctl, signed_in, base, wire, tmp_path):
        files = factories.adapter_files(rank=16, targets=("q_proj", "k_proj", "v_proj", "o_proj"))
        good = json.loads(files["adapter_config.json"])
        bad = json.dumps({**good, "r": 5}).encode()
        folder = write(tmp_path / "a", {**files, "adapter_config.json": bad})
        hub = Hub(wire.url, make_token(signed_in))
        with pytest.raises(Refused):
            hub.push(folder, "ada/a")
        wire.sent = 0
        write(folder, files)
        assert hub.push(folder, "ada/a")["version"] == "v1"
        assert wire.sent < len(files["adapter_model.safetensors"])

    def test_a_folder_that_is_not_there(self, hubctl, signed_in):
        refused = hubctl("push", "nowhere", "ada/x")
        assert (refused.code, refused.err.count("\n")) == (1, 1)
        assert "nowhere" in refused.err

    @pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\..\\x", ""])
    def test_a_hub_can_not_write_outside_the_folder(self, tmp_path, path):
        with pytest.raises(Refused):
            local_path(tmp_path, path)


class TestCuts:
    """The wire breaks in the middle; all that was received is kept."""

    @pytest.fixture
    def big(self, tmp_path):
        files = factories.adapter_files(rank=16, targets=tuple(PROJECTIONS), seed=3)
        assert len(files["adapter_model.safetensors"]) > 20_000
        return write(tmp_path / "big", files)

    def test_a_cut_push_goes_on_where_it_stopped(self, signed_in, base, wire, big):
        hub = Hub(wire.url, make_token(signed_in))
        wire.up, wire.cuts, wire.sent = 15_000, 1, 0
        assert hub.push(big, "ada/big")["version"] == "v1"
        assert wire.cuts == 0, "the wire was not cut"
        assert wire.sent < 1.6 * (big / "adapter_model.safetensors").stat().st_size

    def test_the_next_command_takes_up_an_upload_that_died(self, signed_in, base, wire, big, monkeypatch):
        monkeypatch.setattr(upload, "PIECE", 4096)
        monkeypatch.setattr(upload, "LARGEST", 4096)
        size = (big / "adapter_model.safetensors").stat().st_size
        hub = Hub(wire.url, make_token(signed_in))

        def die(what, done, total):
            if what == "adapter_model.safetensors" and 8192 <= done < total:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            hub.push(big, "ada/big", moved=die)
        hub.transport.close()
        wire.sent = 0
        assert Hub(wire.url, hub.transport.token).push(big, "ada/big")["version"] == "v1"
        assert Upload.objects.count() == 1, "it began anew"
        assert wire.sent < size - 4096 + 6000

    @pytest.mark.parametrize("takes", [10**9, 4096])
    def test_pieces_grow_until_something_on_the_way_takes_no_larger_ones(
        self, signed_in, base, wire, big, monkeypatch, takes
    ):
        monkeypatch.setattr(upload, "PIECE", 4096)
        hub, sizes, put = Hub(wire.url, make_token(signed_in)), [], httpx.Client.put

        def through_a_proxy(client, address, *, content, headers):
            length = int(headers["Content-Length"])
            if length > takes:
                return httpx.Response(413, text="<html>Request Entity Too Large</html>")
            sizes.append(length)
            return put(client, address, content=content, headers=headers)

        monkeypatch.setattr(httpx.Client, "put", through_a_proxy)
        assert hub.push(big, "ada/big")["version"] == "v1"
        assert max(sizes) == (4096 if takes == 4096 else 4 * 4096)

    def test_a_hub_that_stays_away_is_said_so_and_the_upload_remembered(self, signed_in, base, wire, big):
        hub = Hub(wire.url, make_token(signed_in))
        wire.up, wire.cuts = 3000, 10_000
        with pytest.raises(Unreachable):
            hub.push(big, "ada/big")
        wire.cuts = 0
        hub.transport.close()
        assert hub.push(big, "ada/big")["version"] == "v1"

    def test_a_cut_pull_goes_on_where_it_stopped(self, signed_in, base, wire, big, tmp_path):
        hub = Hub(wire.url, make_token(signed_in))
        hub.push(big, "ada/big")
        hub.transport.close()
        wire.down, wire.cuts, wire.received = 15_000, 1, 0
        hub.pull("ada/big", tmp_path / "out")
        assert wire.cuts == 0, "the wire was not cut"
        assert digests(tmp_path / "out") == digests(big)
        assert wire.received < 1.6 * (big / "adapter_model.safetensors").stat().st_size

    def test_a_part_of_other_bytes_is_thrown_away(self, hubctl, signed_in, base, big, tmp_path):
        hubctl("push", big, "ada/big")
        out = tmp_path / "out"
        out.mkdir()
        name = "adapter_model.safetensors"
        (out / f"{name}.{digests(big)[name][:8]}.part").write_bytes(b"rubbish")
        assert hubctl("pull", "ada/big", "-o", out).code == 0
        assert digests(out) == digests(big)

    def test_a_second_pull_fetches_no_file(self, signed_in, base, wire, big, tmp_path):
        hub = Hub(wire.url, make_token(signed_in))
        hub.push(big, "ada/big")
        hub.pull("ada/big", tmp_path / "out")
        wire.received = 0
        hub.pull("ada/big", tmp_path / "out")
        assert wire.received < 5000


def test_a_dataset_of_several_files(hubctl, signed_in, tmp_path):
    write(tmp_path, factories.dataset_files() | factories.dataset_files(split="train"))
    pushed = hubctl("dataset", "push", tmp_path / "train.jsonl", tmp_path / "test.jsonl", "ada/sums", "--json")
    assert pushed.code == 0, pushed.err
    assert pushed.json["version"] == "v1"
    assert hubctl("info", "ada/sums", "--json").json["version"]["facts"]["splits"] == {"test": 4, "train": 4}
