"""vLLM's LoRA resolver for a hub: a request for the model `ns/name@v2` loads that version.

    export HUBCTL_URL=https://hub.example.org HUBCTL_TOKEN=ah_…  VLLM_ALLOW_RUNTIME_LORA_UPDATING=1
    HUBCTL_VLLM_ALLOW=team vllm serve org/model --enable-lora --max-lora-rank 64

vLLM loads the entry point `adapter_hub` of the group `vllm.general_plugins` in every process, and asks the resolvers of
`vllm.lora.resolver.LoRAResolverRegistry` in its API server. Written for the interface of vLLM 0.33.0 (vllm/lora/
resolver.py, vllm/lora/request.py; vllm/entrypoints/openai/models/serving.py calls it), the same since 0.8.5.

Nothing is registered unless HUBCTL_VLLM_ALLOW says what may be asked for: whoever can reach the server could otherwise
load all that its token sees.
"""

import os
import zlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from hubctl.config import cache_folder, current
from hubctl.serving.resolving import Resolver, choice, listed, log

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "Adapter hub"

SECONDS_FOR_HUB = 10.0  # then what the cache has serves


def server(given: str) -> str:
    """The hub's word for a vLLM of this version: from 0.32 on it reads the patterns of a config."""
    numbers = [int(word) if word.isdigit() else 0 for word in given.split("+")[0].split(".")[:2]]
    return "vllm-0.31" if "dev" not in given and numbers < [0, 32] else "vllm"


def from_environment(vllm: str) -> Resolver | None:
    """The resolver that the environment describes, for this version of vLLM; None where HUBCTL_VLLM_ALLOW is unset.

    HUBCTL_VLLM_ALLOW: namespaces and repositories, by commas, `*` for any characters. HUBCTL_VLLM_BASE: the base that
    is served, where `--model` is a name that the hub doesn't know. HUBCTL_VLLM_CACHE: where versions are kept.
    HUBCTL_VLLM_UNIFORM: auto, always or never. The hub and the token are those of `hubctl`.
    """
    from hubctl.client import Hub

    allow = listed(os.environ.get("HUBCTL_VLLM_ALLOW", ""))
    if not allow:
        return None
    cache = Path(os.environ.get("HUBCTL_VLLM_CACHE") or cache_folder() / "vllm").expanduser()
    uniform = choice(os.environ.get("HUBCTL_VLLM_UNIFORM") or "auto")
    base = os.environ.get("HUBCTL_VLLM_BASE") or None
    return Resolver(Hub(*current(), patience=SECONDS_FOR_HUB), cache, allow, server(vllm), base, uniform)


def register() -> None:
    """The plugin's entry point; may be called again."""
    try:
        resolver = from_environment(version("vllm"))
    except PackageNotFoundError:
        resolver = from_environment("0.dev")
    if resolver is None:
        log.debug("HUBCTL_VLLM_ALLOW is not set: no adapters of a hub are resolved.")
        return
    from vllm.lora.resolver import LoRAResolverRegistry

    LoRAResolverRegistry.register_resolver(NAME, made_for_vllm(resolver.resolve))
    log.info("Adapters of %s are resolved: %s.", resolver.hub.url, ", ".join(resolver.allow))


def made_for_vllm(resolve: "Callable[[str, str], Path | None]"):
    """vLLM's own kind of resolver around `resolve(base, name)`, which runs in a thread beside its event loop."""
    import asyncio

    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver

    class HubResolver(LoRAResolver):
        async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
            folder = await asyncio.to_thread(resolve, base_model_name, lora_name)
            if folder is None:
                return None
            # vLLM gives the request a number of its own; it only has to be above 0 here.
            number = zlib.crc32(lora_name.encode()) or 1
            return LoRARequest(lora_name=lora_name, lora_int_id=number, lora_path=str(folder))

    return HubResolver()
