"""What is known of an adapter without torch: its config, its tensor headers, and how large each update is.

Recipes check their inputs against these facts, pages show them, and the database keeps them as JSON.
"""

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFacts:
    """One adapted module: A is [r, in_features], B is [out_features, r], ΔW = scale · B @ A.

    `norm` is ‖ΔW‖ (Frobenius); None where only headers were read.
    """

    r: int
    in_features: int
    out_features: int
    scale: float
    norm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFacts:
    """An adapter's header facts; `modules` are full paths without `base_model.model.`.

    `r` is the config's own, which patterns may overrule; None in facts that were stored before it was kept.
    `needs_base` lists {code, reason, do} for what can't be merged without the base weight; empty means mergeable.
    """

    peft_type: str
    modules: dict[str, ModuleFacts]
    dtype: str
    parameters: int
    bytes: int
    target_modules: list[str]
    r: int | None = None
    lora_alpha: float | None = None
    use_rslora: bool = False
    task_type: str | None = None
    base_model_name: str | None = None
    needs_base: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ranks(self) -> tuple[int, int]:
        """Smallest and largest rank over the modules; (0, 0) without modules."""
        ranks = [module.r for module in self.modules.values()]
        return (min(ranks), max(ranks)) if ranks else (0, 0)

    def to_dict(self) -> dict[str, object]:
        """JSON form, with the derived `ranks` beside the fields."""
        return {**asdict(self), "ranks": list(self.ranks)}

    @classmethod
    def from_dict(cls, data: dict) -> "AdapterFacts":
        """The inverse of `to_dict`."""
        fields = {key: value for key, value in data.items() if key != "ranks"}
        modules = {name: ModuleFacts(**module) for name, module in fields.pop("modules").items()}
        return cls(modules=modules, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """A dataset of JSONL files: rows per split (the file's stem), and of what kind they are; see `dataset_files`."""

    splits: dict[str, int]
    kinds: dict[str, str]
    columns: list[str]
    has_choices: bool
    bytes: int

    def to_dict(self) -> dict[str, object]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorFacts:
    """A generator by its config and tensor headers; `modules` are the layers it writes adapters for."""

    base_model_name: str
    modules: list[str]
    sizes: dict[str, int | float | str]
    dtype: str
    parameters: int
    bytes: int
    adapter_rank: int
    adapter_parameters: int
    training: dict[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """JSON form."""
        return asdict(self)
