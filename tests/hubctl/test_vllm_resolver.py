"""The vLLM plugin against a served hub: names, tokens, bases, forms, the cache; vLLM's side is a stand-in."""

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from django.core.cache import cache

from hub.models import BaseAlias, fold
from hub.services import refs, repositories, tokens
from hubctl.serving import resolving, store, vllm_resolver
from tests.hub import factories
from tests.hubctl import vllm_stand_in
from tests.hubctl.conftest import make_token

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
GROUP = "vllm.general_plugins"


@pytest.fixture
def dates(ada, base):
    """ada/dates: v1 (rank 2), v2 (rank 4, `production`), v3 (rank 8); private."""
    cache.clear()
    made = [factories.make_version(ada, "dates", base=base, rank=2, visibility="private")]
    for rank in (4, 8):
        made.append(factories.publish(ada, made[0].repository, factories.adapter_files(rank=rank)).version)
    refs.set_tag(actor=ada, repository=made[0].repository, name="production", revision=made[1].revision)
    return made


@pytest.fixture
def vllm(served, ada, tmp_path, monkeypatch):
    """`vllm("org/model", VERSION)` → a server with our plugin, loaded by its entry point as vLLM does."""

    def start(model: str = "pico/llama", version: str = "0.33.0", **settings: str) -> vllm_stand_in.Server:
        settings = {"ALLOW": "ada", "CACHE": str(tmp_path / "vllm")} | settings
        for name, value in settings.items():
            monkeypatch.setenv(f"HUBCTL_VLLM_{name}", value)
        monkeypatch.setattr(vllm_resolver, "version", lambda name: version)
        registry = vllm_stand_in.install(monkeypatch)
        declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
        for name, target in declared.items():
            EntryPoint(name, target, GROUP).load()()
        return vllm_stand_in.Server(registry, model)

    monkeypatch.setenv("HUBCTL_TOKEN", make_token(ada, ["read"]))
    return start


def rank_of(request) -> int:
    return json.loads((Path(request.lora_path) / "adapter_config.json").read_text())["r"]


NAMES = {
    "ada/dates": 8,
    "ada/dates@latest": 8,
    "ada/dates@v1": 2,
    "ada/dates.v1": 2,
    "ada/dates.V1": 2,
    "ada/dates@production": 4,
}


def test_names_lead_to_versions(vllm, dates):
    server = vllm()
    for name, rank in NAMES.items():
        found = server.ask(name)
        assert (found.lora_name, rank_of(found)) == (name, rank)
        assert not store.broken_files(Path(found.lora_path))


def test_what_is_no_adapter_is_left_to_other_resolvers(vllm, dates):
    server = vllm()
    for name in ("dates", "ada/dates@v9", "ada/nothing", "../ada/dates", "ada/dates/x", "", "a/b@c@d", "ada/dates@"):
        assert server.ask(name) is None, name


def test_nothing_is_resolved_that_was_not_allowed(vllm, ada, base, dates):
    factories.make_version(ada, "sums", base=base, rank=2)
    assert not vllm(ALLOW="").registry.resolvers, "installing hubctl beside vLLM changes nothing"
    for allow, names in {
        "ada/dates": ["ada/dates"],
        "bob, ada/su*": ["ada/sums"],
        "*": ["ada/dates", "ada/sums"],
    }.items():
        server = vllm(ALLOW=allow)
        assert [name for name in ("ada/dates", "ada/sums") if server.ask(name)] == names


def test_a_private_adapter_needs_a_token_and_a_revoked_one_is_heard(vllm, ada, dates, monkeypatch):
    token, secret = tokens.create_token(actor=ada, name="server", scopes=["read"])
    monkeypatch.setenv("HUBCTL_TOKEN", secret)
    server = vllm()
    assert server.ask("ada/dates@v1")
    tokens.revoke_token(actor=ada, token=token)
    server.unload("ada/dates@v1")
    assert server.ask("ada/dates@v1") is None, "though its files are in the cache"
    monkeypatch.delenv("HUBCTL_TOKEN")
    assert vllm().ask("ada/dates@v1") is None


def test_a_token_that_only_downloads_is_enough(vllm, ada, dates, monkeypatch):
    limited = tokens.create_token(actor=ada, name="server", scopes=["download"], repository="ada/dates")
    monkeypatch.setenv("HUBCTL_TOKEN", limited[1])
    assert rank_of(vllm().ask("ada/dates@v1")) == 16, "the uniform form: nothing says which one the server needs"
    assert rank_of(vllm(UNIFORM="never").ask("ada/dates@v1")) == 2
    assert vllm("pico/none").ask("ada/dates@v1") is None


def test_a_moved_tag_is_seen_once_the_name_is_unloaded(vllm, ada, dates):
    server = vllm()
    assert rank_of(server.ask("ada/dates@production")) == 4
    refs.set_tag(actor=ada, repository=dates[0].repository, name="production", revision=dates[2].revision)
    assert rank_of(server.ask("ada/dates@production")) == 4
    server.unload("ada/dates@production")
    assert rank_of(server.ask("ada/dates@production")) == 8


def test_while_the_hub_is_away_what_was_served_is_served_on(vllm, dates, wire, monkeypatch, caplog):
    monkeypatch.setenv("HUBCTL_URL", wire.url)
    first = vllm().ask("ada/dates@production")
    wire.listener.close()
    monkeypatch.setenv("HUBCTL_URL", "http://127.0.0.1:1")
    server = vllm()
    assert server.ask("ada/dates@production").lora_path == first.lora_path
    assert server.ask("ada/dates@v1") is None
    weights = Path(first.lora_path) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert vllm().ask("ada/dates@production") is None, "broken bytes are not served"


def test_broken_bytes_in_the_cache_are_fetched_again(vllm, dates):
    found = Path(vllm().ask("ada/dates@v1").lora_path)
    weights = found / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    again = Path(vllm().ask("ada/dates@v1").lora_path)
    assert again != found and not store.broken_files(again)


def test_a_deleted_adapter_is_not_served(vllm, ada, dates):
    server = vllm()
    assert server.ask("ada/dates@v1")
    repositories.delete_repository(actor=ada, repository=dates[0].repository)
    server.unload("ada/dates@v1")
    assert server.ask("ada/dates@v1") is None


def test_the_base_is_known_by_every_name_that_servers_use(vllm, base, dates, tmp_path):
    BaseAlias.objects.create(base=base, name="unsloth/pico-4bit", folded=fold("unsloth/pico-4bit"))
    hub_cache = tmp_path / "models--pico--llama/snapshots/0123"
    hub_cache.mkdir(parents=True)
    told, plain = tmp_path / "told", tmp_path / "pico/llama"
    for folder, config in ((told, {"_name_or_path": "PICO/Llama"}), (plain, {})):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
    for model in ("pico/llama", "Pico/LLaMA", "unsloth/pico-4bit", str(hub_cache), str(told), str(plain)):
        assert vllm(model).ask("ada/dates@v1"), model
    assert vllm(str(tmp_path)).ask("ada/dates@v1") is None
    assert vllm(str(tmp_path), BASE="pico/llama").ask("ada/dates@v1")


def test_a_quantised_copy_serves_it_and_another_base_does_not(vllm, base, dates, caplog):
    factories.make_base("pico/llama-awq", derived_from=base, relation="quantized")
    factories.make_base("pico/llama-pruned", derived_from=base, relation="pruned")
    factories.make_base("pico/other")
    assert vllm("pico/llama-awq").ask("ada/dates@v1")
    for model in ("pico/llama-pruned", "pico/other", "pico/unknown"):
        assert vllm(model).ask("ada/dates@v1") is None
    assert "the adapter is for pico/llama, and this server serves pico/other" in caplog.text
    assert "HUBCTL_VLLM_BASE" in caplog.text


def test_the_uniform_form_goes_to_the_versions_that_need_it(vllm, ada, base, dates):
    patterned = {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"v_proj": 32}}
    tensors = factories.adapter_tensors(rank=4, ranks={"v_proj": 2})
    factories.make_version(ada, "odd", base=base, config=patterned, tensors=tensors)
    ranks = {version: rank_of(vllm(version=version).ask("ada/odd")) for version in ("0.33.0", "0.32.0rc1", "0.31.2")}
    assert ranks == {"0.33.0": 4, "0.32.0rc1": 4, "0.31.2": 16}
    assert rank_of(vllm(UNIFORM="always").ask("ada/odd")) == 16
    assert rank_of(vllm(version="0.31.0", UNIFORM="never").ask("ada/odd")) == 4


def test_what_no_form_makes_right_is_not_served(vllm, ada, base, dates, caplog):
    factories.make_version(ada, "biased", base=base, config={"init_lora_weights": "olora"})
    assert vllm().ask("ada/biased") is None
    assert "OLoRA" in caplog.text


def test_a_hub_that_fails_is_away_and_one_that_refuses_is_not():
    from hubctl.errors import Refused, Unreachable

    away = [Unreachable("x"), Refused("x", status=503), Refused("x", status=429)]
    here = [Refused("x", status=422), Refused("x"), OSError("full")]
    assert [resolving.is_away(error) for error in away + here] == [True] * 3 + [False] * 3


def test_versions_of_vllm_are_told_apart():
    names = {"0.33.0": "vllm", "0.32.0rc1": "vllm", "0.31.9": "vllm-0.31", "0.8.5.post1": "vllm-0.31", "1.0": "vllm"}
    names |= {"0.1.dev1+g123": "vllm", "0.33.1+cu130": "vllm"}
    assert {given: vllm_resolver.server(given) for given in names} == names


def test_a_wrong_setting_is_refused_with_its_words(vllm, dates):
    from hubctl.errors import Refused

    with pytest.raises(Refused, match="auto, always, never"):
        vllm(UNIFORM="yes")
    assert resolving.parse("a/b.v0") == ("a/b.v0", "latest")
