"""What our plugin sees of vLLM 0.33.0, in miniature: vLLM itself needs a GPU's build to be imported whole.

The names, signatures and checks are those of `vllm/lora/request.py` and `vllm/lora/resolver.py`; `Server.resolve_lora`
does what `OpenAIServingModels.resolve_lora` (vllm/entrypoints/openai/models/serving.py) does with a resolver's answer.
"""

import asyncio
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import ModuleType


@dataclass
class LoRARequest:
    """A `msgspec.Struct` there."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    base_model_name: str | None = None
    load_inplace: bool = False
    is_3d_lora_weight: bool = False

    def __post_init__(self) -> None:
        if self.lora_int_id < 1:
            raise ValueError(f"id must be > 0, got {self.lora_int_id}")
        assert self.lora_path, "lora_path cannot be empty"


class LoRAResolver(ABC):
    """What a plugin derives from."""

    @abstractmethod
    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None: ...


@dataclass
class Registry:
    """`_LoRAResolverRegistry`: registering a name again replaces it."""

    resolvers: dict[str, LoRAResolver] = field(default_factory=dict)

    def register_resolver(self, resolver_name: str, resolver: LoRAResolver) -> None:
        self.resolvers[resolver_name] = resolver


def install(monkeypatch) -> Registry:
    """Put `vllm` into `sys.modules` for one test; returns its registry."""
    registry = Registry()
    contents = {
        "vllm": {},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.lora.resolver": {"LoRAResolver": LoRAResolver, "LoRAResolverRegistry": registry},
    }
    for name, attributes in contents.items():
        module = ModuleType(name)
        module.__dict__.update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    return registry


class Server:
    """A running vLLM that serves `model`, its `--model`. Names it has loaded are not resolved again until unloaded."""

    def __init__(self, registry: Registry, model: str) -> None:
        self.registry, self.model, self.loaded, self.count = registry, model, {}, 0

    def ask(self, name: str) -> LoRARequest | None:
        """The adapter for a request of this model name, or None for a 404."""
        return asyncio.run(self.resolve_lora(name))

    async def resolve_lora(self, name: str) -> LoRARequest | None:
        if name in self.loaded:
            return self.loaded[name]
        self.count += 1
        for resolver in self.registry.resolvers.values():
            found = await resolver.resolve_lora(self.model, name)
            if found is not None:
                found.lora_int_id = self.count
                self.loaded[name] = found
                return found
        return None

    def unload(self, name: str) -> None:
        """`POST /v1/unload_lora_adapter`."""
        del self.loaded[name]
