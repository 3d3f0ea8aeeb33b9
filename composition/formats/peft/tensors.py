"""The tensors of a PEFT LoRA by their names: pairs of factors, what DoRA and similar methods add, whole layers.

    base_model.model.{module}.lora_A.weight            [r, in]        convolution [r, in, k, k]
    base_model.model.{module}.lora_B.weight            [out, r]       convolution [out, r, 1, 1]
    base_model.model.{module}.lora_embedding_A         [r, entries]
    base_model.model.{module}.lora_embedding_B         [dim, r]

`names` takes the names apart. Where the base is known, the names are those that peft gives them on it (`landing`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from composition.base_shapes import BaseShapes
from composition.errors import CompositionError
from composition.formats.peft.config import PeftConfig
from composition.formats.peft.landing import arrivals
from composition.formats.peft.matching import Parameter
from composition.formats.peft.names import CONFIG_FILE, PREFIX, parse_factor
from composition.formats.peft.patterns import Budget, saved_module_regex
from composition.formats.safetensors_header import SafetensorsHeader, TensorInfo
from composition.formats.strict_json import shorten

FACTOR_DTYPES = ("F64", "F32", "F16", "BF16")
HEADS = ("score", "classifier")
EMBEDDINGS = frozenset({"embed_tokens", "lm_head", "wte", "word_embeddings", "tok_embeddings", "embed_in", "embed_out"})

_BIAS = re.compile(r".+\.lora_B(?:\.default)?\.bias")
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(?:\.default)?(?:\.weight)?")


@dataclass(slots=True)
class Pair:
    """The two factors of one module; None where one is missing. `table` says it adapts an embedding.

    `stored` are the file's names of each half: several where peft fuses the factors of many experts.
    """

    table: bool
    stored: dict[str, list[str]] = field(default_factory=dict)
    A: TensorInfo | None = None
    B: TensorInfo | None = None


@dataclass(slots=True)
class Tensors:
    """Pairs by module, modules with a DoRA magnitude, whole layers by the code of why they need the base.

    `saved` are all whole tensors by the name without the prefix. `config` is the one by which ranks and scales are
    read, and `parameters` says which bare parameter of the base a module's factors sit on.
    """

    config: PeftConfig
    pairs: dict[str, Pair] = field(default_factory=dict)
    magnitudes: set[str] = field(default_factory=set)
    whole: dict[str, list[str]] = field(default_factory=dict)
    saved: dict[str, TensorInfo] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def rank(self, module: str) -> int:
        """The rank that the config gives a module; of stacked experts, that of one of them."""
        return self.config.rank(self._key(module))

    def scale(self, module: str, rank: int) -> float:
        """The scale of a module of this rank."""
        return self.config.scale(self._key(module), rank)

    def _key(self, module: str) -> str:
        parameter = self.parameters.get(module)
        return parameter.name if parameter else module

    def is_parameter(self, module: str) -> bool:
        """Whether the factors sit on a bare parameter."""
        return module in self.parameters or is_target_parameter(module, self.config)


def first_three(names: Iterable[str]) -> str:
    """Up to three names for a message, and how many more there are."""
    names = list(names)
    shown = ", ".join(name if len(name) <= 120 and name.isprintable() else shorten(name, 120) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def sort_tensors(
    header: SafetensorsHeader, config: PeftConfig, budget: Budget, *, file: str, base: BaseShapes | None = None
) -> Tensors:
    """Tell the tensors apart. Raises `adapter.tensor_unknown`, `.tensor_twice`, `.names`, `.does_not_load`."""
    found, unknown, bare = Tensors(config), [], []
    for arrival in arrivals(header, base, file=file):
        budget.spend()
        name, stored = arrival.name.removeprefix(PREFIX), arrival.stored[0]
        factor = parse_factor(arrival.name)
        if factor is None:
            if not _sort_other(name, arrival.tensor, config, found, base):
                unknown.append(stored)
            continue
        if name == arrival.name:
            bare.append(stored)
        pair = found.pairs.setdefault(factor.module, Pair(table=factor.table))
        if factor.half in pair.stored or pair.table != factor.table:
            other = next(iter(pair.stored.values()))[0]
            raise CompositionError(
                "adapter.tensor_twice",
                f"{file} holds {shorten(stored)} and {shorten(other)}: "
                "one factor under two names. Save the adapter again.",
                file=file,
                tensors=[stored, other],
            )
        pair.stored[factor.half] = list(arrival.stored)
        setattr(pair, factor.half, arrival.tensor)
    if unknown:
        raise CompositionError(
            "adapter.tensor_unknown",
            f"{file} holds tensors that its config does not explain: {first_three(unknown)}. Expected names such as "
            f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight. Save the adapter with peft's save_pretrained.",
            file=file,
            tensors=unknown[:3],
        )
    if bare:
        raise CompositionError(
            "adapter.names",
            f"{file}: the names of {len(bare)} tensors lack the prefix {PREFIX}, such as {first_three(bare[:1])}; "
            "peft would load none of them. Save the adapter with peft's save_pretrained.",
            file=file,
            tensors=bare[:3],
            count=len(bare),
        )
    return found


def _sort_other(name: str, tensor: TensorInfo, config: PeftConfig, found: Tensors, base: BaseShapes | None) -> bool:
    """Sort a tensor that is not a factor; False if nothing in the config explains it."""
    magnitude = _MAGNITUDE.fullmatch(name)
    if magnitude:
        found.magnitudes.add(magnitude["module"])
        return "dora" in config.variants
    if _BIAS.fullmatch(name):
        return "lora_bias" in config.variants
    if ".lora_" in name:
        # Tensors of variants: KaSA's diagonal, MonteCLoRA's samples, VeLoRA's projection.
        return bool({"kasa", "monteclora", "arrow", "bdlora"} & {*config.variants}) or "lora_velora" in name
    if "trainable_tokens" in name or ".token_adapter." in name:
        return "trainable_tokens" in config.variants
    found.saved[name] = tensor
    owner = name.rpartition(".")[0].replace(".modules_to_save.default", "").removesuffix(".base_layer")
    if any(saved_module_regex(key).match(owner) for key in config.modules_to_save):
        return True
    last = owner.rpartition(".")[2]
    if last in HEADS and config.task_type in ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"):
        found.whole.setdefault("modules_to_save", []).append(owner)
        return True
    if last in EMBEDDINGS:
        found.whole.setdefault("full_weights", []).append(owner)
        return True
    if name.endswith(".bias") and config.bias != "none":
        return True
    if _is_whole(owner, name, tensor, base):
        found.whole.setdefault("full_weights", []).append(owner)
        return True
    return False


def _is_whole(owner: str, name: str, tensor: TensorInfo, base: BaseShapes | None) -> bool:
    """Whether it is one of the base's own parameters, which peft puts in its place; without a base, a norm's vector."""
    leaf = name.rpartition(".")[2]
    norm = leaf in ("weight", "bias") and len(tensor.shape) == 1 and "norm" in owner.rpartition(".")[2].lower()
    if base is None:
        return norm
    layout = base.layout
    if leaf in layout.others.get(owner, {}) or (owner in layout.kinds and leaf == "weight"):
        return True
    return norm and not layout.exact and owner.rpartition(".")[0] in layout.others


def check_pairs(found: Tensors, budget: Budget, *, file: str) -> None:
    """Both factors are there, of a floating dtype, of matching dimensions and of the config's rank."""
    halves = [
        f"{module} has lora_{next(iter(p.stored))} only" for module, p in found.pairs.items() if len(p.stored) < 2
    ]
    if halves:
        raise _refusal("unpaired", "an A and a B for every module", halves, "Save the adapter again", file)
    if not found.pairs:
        raise CompositionError(
            "adapter.no_factors", f"{file} holds no LoRA factors. Push the adapter, not the base model.", file=file
        )
    wrong_dtype, wrong_shape, wrong_rank = [], [], []
    for module, pair in found.pairs.items():
        budget.spend()
        a, b = pair.A, pair.B
        assert a is not None
        assert b is not None
        if a.dtype not in FACTOR_DTYPES or b.dtype not in FACTOR_DTYPES:
            wrong_dtype.append(f"{module} (A {a.dtype}, B {b.dtype})")
        elif not _fits_together(pair):
            wrong_shape.append(f"{module} (A {list(a.shape)}, B {list(b.shape)})")
        elif wrong := _wrong_rank(module, a.shape[0], found):
            wrong_rank.append(wrong)
    if wrong_dtype:
        raise _refusal("dtype", f"factors of {', '.join(FACTOR_DTYPES)}", wrong_dtype, "Save it as float16", file)
    if wrong_shape:
        raise _refusal(
            "factor_shape", "A [r, in] and B [out, r] with the same r", wrong_shape, "Save the adapter again", file
        )
    if wrong_rank:
        do = "Use the config it was saved with, or name such modules in rank_pattern"
        raise _refusal("rank", f"the ranks that {CONFIG_FILE} gives", wrong_rank, do, file)


def _fits_together(pair: Pair) -> bool:
    assert pair.A is not None
    assert pair.B is not None
    a, b = pair.A.shape, pair.B.shape
    if len(a) != len(b) or len(a) < 2 or (len(a) > 2 and pair.table) or len(a) > 5:
        return False
    return a[0] == b[1] and all(extent == 1 for extent in b[2:])


def is_target_parameter(module: str, config: PeftConfig) -> bool:
    """Whether the module holds a parameter of `target_parameters`, whose factors have one block per expert."""
    name = module.replace(".base_layer", "")
    owners = (parameter.rpartition(".")[0] for parameter in config.target_parameters)
    return any(name == owner or name.endswith(f".{owner}") for owner in owners)


def _wrong_rank(module: str, rank: int, found: Tensors) -> str:
    """What is wrong with the rows of A, or an empty text."""
    expected = found.rank(module)
    parameter = found.parameters.get(module)
    if parameter:
        total = expected * parameter.experts
        return "" if rank == total else f"{module} (rank {rank}, expected {total}: {expected} for each expert)"
    if rank == expected or (is_target_parameter(module, found.config) and rank % expected == 0):
        return ""
    return f"{module} (rank {rank}, config says {expected})"


def _refusal(code: str, expected: str, offenders: list[str], do: str, file: str) -> CompositionError:
    return CompositionError(
        f"adapter.{code}",
        f"{file}: {first_three(offenders)}; expected {expected}. {do}.",
        file=file,
        tensors=offenders[:3],
        count=len(offenders),
    )
