"""`hubctl pull --uniform`, and what `hubctl info` says of servers: every command that it names is run."""

import json
import re

import pytest

from hubctl import client
from tests.hub import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rslora(signed_in, base):
    return factories.make_version(signed_in, "mine", base=base, rank=4, config={"use_rslora": True})


def config_of(folder):
    return json.loads((folder / "adapter_config.json").read_text())


def test_info_names_the_command_and_the_command_makes_it_right(hubctl, rslora, tmp_path):
    said = hubctl("info", "ada/mine").out
    assert re.search(r"right on +vLLM 0\.32 and newer, vLLM up to 0\.31", said)
    wrong = re.search(r"wrong on +SGLang: The update is ×0\.5 on q_proj, v_proj\. Right with `(.+)`\.", said)
    command = wrong[1].split()
    assert command == ["hubctl", "pull", "ada/mine@v1", "--uniform"]
    pulled = hubctl(*command[1:], "-o", tmp_path / "out")
    assert (pulled.code, "uniform form of ada/mine@v1" in pulled.out) == (0, True)
    assert (config_of(tmp_path / "out")["r"], config_of(tmp_path / "out")["use_rslora"]) == (16, False)


def test_a_pull_in_both_forms_into_one_folder_takes_what_differs(hubctl, rslora, tmp_path):
    for option, rank in (("--uniform", 16), (None, 4), ("--uniform", 16)):
        assert hubctl("pull", "ada/mine", *([option] if option else []), "-o", tmp_path / "out").code == 0
        assert config_of(tmp_path / "out")["r"] == rank


def test_the_python_client_asks_the_same(hubctl, rslora, served, tmp_path):
    hub = client.Hub(served)
    found = hub.pull("ada/mine", tmp_path / "out", uniform=True)
    assert found["forms"] == ["uniform"] and config_of(tmp_path / "out")["r"] == 16


def test_a_hub_that_does_not_know_the_form_is_not_believed(hubctl, rslora, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "part_query", lambda *asked: "")  # it would leave the query unread
    refused = hubctl("pull", "ada/mine", "--uniform", "-o", tmp_path / "out")
    assert (refused.code, "too old" in refused.err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_what_is_no_plain_lora_is_served_by_none(hubctl, signed_in, base, tmp_path):
    factories.make_version(signed_in, "biased", base=base, config={"init_lora_weights": "olora"})
    said = hubctl("info", "ada/biased").out
    assert re.search(r"served by +none of vLLM .*OLoRA trained", said)
    refused = hubctl("pull", "ada/biased", "--uniform", "-o", tmp_path / "out")
    assert (refused.code != 0, "OLoRA trained" in refused.err) == (True, True)


def test_a_mixture_as_one_lora_and_its_expert_in_both_forms(hubctl, signed_in, base, tmp_path):
    from tests.hub.mixtures import make_mixture

    pair = [factories.make_version(signed_in, name, base=base, seed=seed) for seed, name in enumerate(("one", "two"))]
    make_mixture(signed_in, pair, tmp_path / "made")
    asked = {
        "auto": (["--as", "cat"], 8),
        "compact": (["--as", "cat", "--compact"], 8),
        "uniform": (["--as", "cat", "--uniform"], 16),
        "expert": (["--expert", "ada/two@v1", "--uniform"], 16),
    }
    for name, (options, rank) in asked.items():
        assert hubctl("pull", "ada/mix", *options, "-o", tmp_path / name).code == 0
        assert config_of(tmp_path / name)["r"] == rank
    both = hubctl("pull", "ada/mix", "--uniform", "-o", tmp_path / "mix")
    assert (both.code != 0, "mixture" in both.err) == (True, True)
