"""Every method by name: what it makes, what it needs, where its function lives, and its paper.

Adding a method is one file and one row here. The function is named, not imported, so that web and API, which draw
their forms from the recipes, load no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from composition.recipes import (
    AverageRecipe,
    CatRecipe,
    CrossLoraRecipe,
    DiscriminatorRecipe,
    EvaluateRecipe,
    GenerateRecipe,
    LegoRecipe,
    LoRamRecipe,
    MeteoraRecipe,
    PortLlmRecipe,
    Recipe,
    SmoraRecipe,
    SvdRecipe,
    TrainGeneratorRecipe,
    TransLoraRecipe,
    TryRecipe,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a method asks of its surroundings; `max_inputs` None is any number."""

    min_inputs: int
    max_inputs: int | None = None
    base_model: bool = False
    device: Literal["cpu", "any"] = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One row: `function` is dotted as "package.module:name"; `load()` imports it."""

    kind: str
    verb: str
    label: str
    summary: str
    recipe: type[Recipe]
    function: str
    needs: Needs
    paper: str | None = None

    @property
    def makes_adapter(self) -> bool:
        """Whether its result is published; the others measure or answer."""
        return self.verb not in ("evaluate", "try")

    def load(self) -> Callable[..., Any]:
        """Import and return the function. Loads torch."""
        module, name = self.function.split(":")
        return getattr(import_module(module), name)


_ROWS = (
    Method(
        kind="lego",
        verb="merge",
        label="LoRA-LEGO",
        summary="Clusters the rank-1 units of all adapters into k groups and keeps their reweighted centroids.",
        recipe=LegoRecipe,
        function="composition.merging.lego:lego",
        needs=Needs(min_inputs=1),
        paper="https://arxiv.org/abs/2409.16167",
    ),
    Method(
        kind="svd",
        verb="merge",
        label="Truncated SVD",
        summary="The closest rank-k adapter to the weighted mean of the adapters' updates.",
        recipe=SvdRecipe,
        function="composition.merging.svd:svd",
        needs=Needs(min_inputs=1),
    ),
    Method(
        kind="cat",
        verb="merge",
        label="Concatenation",
        summary="Exactly the weighted sum of the adapters' updates; the rank is the sum of theirs.",
        recipe=CatRecipe,
        function="composition.merging.cat:cat",
        needs=Needs(min_inputs=2),
    ),
    Method(
        kind="average",
        verb="merge",
        label="Rank-wise average",
        summary="Averages A and B rank by rank; meaningful for adapters that were started from one seed.",
        recipe=AverageRecipe,
        function="composition.merging.average:average",
        needs=Needs(min_inputs=2),
    ),
    Method(
        kind="meteora",
        verb="assemble",
        label="MeteoRA",
        summary="Keeps every adapter as an expert; a gate in each module sends each token to the best of them.",
        recipe=MeteoraRecipe,
        function="composition.moe.assemble:assemble",
        needs=Needs(min_inputs=2, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2405.13053",
    ),
    Method(
        kind="smora",
        verb="assemble",
        label="SMoRA",
        summary="Makes every rank of every adapter an expert; a router in each module picks the ranks for each token.",
        recipe=SmoraRecipe,
        function="composition.moe.assemble:assemble",
        needs=Needs(min_inputs=2, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2501.15103",
    ),
    Method(
        kind="trans-lora",
        verb="transfer",
        label="Trans-LoRA",
        summary="The target invents inputs, a discriminator keeps those like the task's, the source answers, a new "
        "adapter learns it.",
        recipe=TransLoraRecipe,
        function="transfer.pipeline:transfer",
        needs=Needs(min_inputs=1, max_inputs=1, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2405.17258",
    ),
    Method(
        kind="portllm",
        verb="transfer",
        label="PortLLM",
        summary="The same update on a further-trained base of equal shapes; no training.",
        recipe=PortLlmRecipe,
        function="transfer.portllm:portllm",
        needs=Needs(min_inputs=1, max_inputs=1),
        paper="https://arxiv.org/abs/2410.10870",
    ),
    Method(
        kind="cross-lora",
        verb="transfer",
        label="Cross-LoRA",
        summary="Projects the update between the singular subspaces of both bases' weights; no training.",
        recipe=CrossLoraRecipe,
        function="transfer.cross_lora:cross_lora",
        needs=Needs(min_inputs=1, max_inputs=1, base_model=True),
        paper="https://arxiv.org/abs/2508.05232",
    ),
    Method(
        kind="loram",
        verb="transfer",
        label="LoRAM",
        summary="Puts an adapter of a pruned base back into the full one by the index map; exact.",
        recipe=LoRamRecipe,
        function="transfer.loram:loram",
        needs=Needs(min_inputs=1, max_inputs=1),
        paper="https://arxiv.org/abs/2502.13533",
    ),
    Method(
        kind="discriminator",
        verb="discriminator",
        label="Discriminator",
        summary="Learns, once, to tell an adapter's real inputs from invented ones; kept beside it for every transfer.",
        recipe=DiscriminatorRecipe,
        function="transfer.discriminator:train_discriminator",
        needs=Needs(min_inputs=1, max_inputs=1, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2405.17258",
    ),
    Method(
        kind="generate",
        verb="generate",
        label="GenerativeAdapter",
        summary="Turns a text into an adapter in one pass of the base over it, by a generator trained for that base.",
        recipe=GenerateRecipe,
        function="composition.generative.generate:generate",
        needs=Needs(min_inputs=0, max_inputs=0, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2411.05877",
    ),
    Method(
        kind="train-generator",
        verb="train-generator",
        label="Generator training",
        summary="Trains the generator that turns texts into adapters of one base, on plain text.",
        recipe=TrainGeneratorRecipe,
        function="composition.generative.train:train_generator",
        needs=Needs(min_inputs=0, max_inputs=0, base_model=True, device="any"),
        paper="https://arxiv.org/abs/2411.05877",
    ),
    Method(
        kind="evaluate",
        verb="evaluate",
        label="Evaluation",
        summary="Measures an adapter on a dataset: likelihood, exact match, choice accuracy.",
        recipe=EvaluateRecipe,
        function="composition.running.evaluation:evaluate",
        needs=Needs(min_inputs=0, max_inputs=1, base_model=True, device="any"),
    ),
    Method(
        kind="try",
        verb="try",
        label="Trial",
        summary="Answers one prompt with the adapter and, to compare, without it.",
        recipe=TryRecipe,
        function="composition.running.try_out:try_out",
        needs=Needs(min_inputs=1, max_inputs=1, base_model=True, device="any"),
    ),
)

METHODS: dict[str, Method] = {row.kind: row for row in _ROWS}


def merge_methods() -> list[Method]:
    """The methods that make one adapter out of several, in the order pages show them."""
    return methods_of("merge")


def assemble_methods() -> list[Method]:
    """The methods that make one routing adapter out of several, in the order pages show them."""
    return methods_of("assemble")


def transfer_methods() -> list[Method]:
    """The methods that move one adapter to another base, Trans-LoRA first, in the order pages show them."""
    return methods_of("transfer")


def methods_of(verb: str) -> list[Method]:
    """The rows of one verb."""
    return [method for method in METHODS.values() if method.verb == verb]
