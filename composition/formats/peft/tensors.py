"""The tensors of a PEFT LoRA by their names: pairs of factors, what DoRA and similar methods add, whole layers.

    base_model.model.{module}.lora_A.weight            [r, in]        convolution [r, in, k, k]
    base_model.model.{module}.lora_B.weight            [out, r]       convolution [out, r, 1, 1]
    base_model.model.{module}.lora_embedding_A         [r, entries]
    base_model.model.{module}.lora_embedding_B         [dim, r]

`names` takes the names apart; files without the prefix are read with a warning, for peft would skip them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from composition.errors import CompositionError
from composition.formats.peft.config import PeftConfig
from composition.formats.peft.names import CONFIG_FILE, PREFIX, parse_factor
from composition.formats.peft.patterns import Budget, saved_module_regex
from composition.formats.safetensors_header import SafetensorsHeader, TensorInfo
from composition.formats.strict_json import shorten

FACTOR_DTYPES = ("F64", "F32", "F16", "BF16")
HEADS = ("score", "classifier")
EMBEDDINGS = frozenset({"embed_tokens", "lm_head", "wte", "word_embeddings", "tok_embeddings", "embed_in", "embed_out"})

_BIAS = re.compile(r".+\.lora_B(?:\.default)?\.bias")
_NORM = re.compile(r"norm|^ln_|^ln\d*$", re.IGNORECASE)
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(?:\.default)?(?:\.weight)?")


@dataclass(slots=True)
class Pair:
    """The two factors of one module; None where one is missing. `table` says it adapts an embedding."""

    table: bool
    names: dict[str, str] = field(default_factory=dict)
    A: TensorInfo | None = None
    B: TensorInfo | None = None


@dataclass(slots=True)
class Tensors:
    """Pairs by module, modules with a DoRA magnitude, whole layers by the code of why they need the base."""

    pairs: dict[str, Pair] = field(default_factory=dict)
    magnitudes: set[str] = field(default_factory=set)
    whole: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def first_three(names: Iterable[str]) -> str:
    """Up to three names for a message, and how many more there are."""
    names = list(names)
    shown = ", ".join(name if len(name) <= 120 and name.isprintable() else shorten(name, 120) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def sort_tensors(header: SafetensorsHeader, config: PeftConfig, budget: Budget, *, file: str) -> Tensors:
    """Tell the tensors apart. Raises `adapter.tensor_unknown`, `.tensor_twice`."""
    found, unknown, bare = Tensors(), [], 0
    for stored, tensor in header.tensors.items():
        budget.spend()
        name = stored.removeprefix(PREFIX)
        bare += name == stored
        factor = parse_factor(stored)
        if factor is None:
            if not _sort_other(name, stored, config, found) and not _is_norm(name, tensor, found):
                unknown.append(stored)
            continue
        pair = found.pairs.setdefault(factor.module, Pair(table=factor.table))
        if factor.half in pair.names or pair.table != factor.table:
            raise CompositionError(
                "adapter.tensor_twice",
                f"{file} holds {shorten(stored)} and {shorten(next(iter(pair.names.values())))}: "
                "one factor under two names. Save the adapter again.",
                file=file,
                tensors=[stored, *pair.names.values()],
            )
        pair.names[factor.half] = stored
        setattr(pair, factor.half, tensor)
    if unknown:
        raise CompositionError(
            "adapter.tensor_unknown",
            f"{file} holds tensors that its config does not explain: {first_three(unknown)}. Expected names such as "
            f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight. Save the adapter with peft's save_pretrained.",
            file=file,
            tensors=unknown[:3],
        )
    if bare:
        found.warnings.append(f"{bare} tensors lack the prefix {PREFIX}; peft will not load them under these names.")
    return found


def _sort_other(name: str, stored: str, config: PeftConfig, found: Tensors) -> bool:
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
    return name.endswith(".bias") and config.bias != "none"


def _is_norm(name: str, tensor: TensorInfo, found: Tensors) -> bool:
    """A norm's vector, whole, as tools write it that extract a LoRA from a tuned model."""
    owner, _, part = name.rpartition(".")
    if part not in ("weight", "bias") or len(tensor.shape) != 1 or not _NORM.search(owner.rpartition(".")[2]):
        return False
    found.whole.setdefault("full_weights", []).append(owner)
    return True


def check_pairs(found: Tensors, config: PeftConfig, budget: Budget, *, file: str) -> None:
    """Both factors are there, of a floating dtype, of matching dimensions and of the config's rank."""
    halves = [f"{module} has lora_{next(iter(p.names))} only" for module, p in found.pairs.items() if len(p.names) < 2]
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
        elif a.shape[0] != config.rank(module) and not _is_parameter(module, a.shape[0], config):
            wrong_rank.append(f"{module} (rank {a.shape[0]}, config says {config.rank(module)})")
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


def _is_parameter(module: str, rank: int, config: PeftConfig) -> bool:
    return is_target_parameter(module, config) and rank % config.rank(module) == 0


def _refusal(code: str, expected: str, offenders: list[str], do: str, file: str) -> CompositionError:
    return CompositionError(
        f"adapter.{code}",
        f"{file}: {first_three(offenders)}; expected {expected}. {do}.",
        file=file,
        tensors=offenders[:3],
        count=len(offenders),
    )
