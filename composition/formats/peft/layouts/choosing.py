"""Which form a LoRA is written in: `compact`, `uniform`, or `auto`, which asks the servers. Torch-free.

compact    each module's own rank and scale, by patterns where they differ; no module that is zero
uniform    the form that every server reads right (`uniform`)
auto       uniform where some server reads the compact form wrongly or refuses it, and reads the uniform one right
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from composition.errors import CompositionError
from composition.facts import AdapterFacts, ModuleFacts
from composition.formats.peft.layouts.completing import Shapes, missing
from composition.formats.peft.layouts.stored import StoredLora, read_stored
from composition.formats.peft.layouts.uniform import uniform_facts, uniform_files
from composition.formats.servers import SERVERS, Served, Verdict, reason_against, served_of, verdict
from composition.formats.sources import Files, FileSource

AUTO, COMPACT, UNIFORM = LAYOUTS = ("auto", "compact", "uniform")


def laid_out(
    files: Files, layout: str, base_shapes: Shapes | None = None, *, base_model: str | None = None
) -> dict[str, FileSource]:
    """The adapter's config and weights in this layout; {} where its files are in it as they are.

    `base_model` is the base's id, for the uniform form. What is no plain LoRA stays as it is with auto. Raises
    CompositionError `layout.unknown`, and with uniform `form.not_plain`.
    """
    if layout not in LAYOUTS:
        raise CompositionError(
            "layout.unknown", f"There is no layout {layout!r}; expected one of {', '.join(LAYOUTS)}.", layout=layout
        )
    if layout == COMPACT:
        return {}
    if layout == AUTO:
        try:
            stored = read_stored(files)
        except CompositionError as refusal:
            if refusal.code == "form.not_plain":
                return {}
            raise
        if not better_uniform(served_stored(stored, base_shapes), base_shapes):
            return {}
    return uniform_files(files, base_shapes, base_model=base_model)


def written(
    modules: Mapping[str, ModuleFacts], layout: str, base_shapes: Shapes | None = None
) -> Mapping[str, ModuleFacts]:
    """What a writer with this layout makes of modules that are not written yet: for estimates of its size."""
    r = max(Counter(fact.r for fact in modules.values()).items(), key=lambda item: (item[1], item[0]))[0]
    absent = missing(modules, base_shapes)
    compact = Served(r=r, alpha=r, modules=modules, absent=frozenset(absent))
    wanted = layout == UNIFORM or (layout == AUTO and better_uniform(compact, base_shapes))
    return uniform_facts(modules, absent) if wanted else modules


def served_stored(stored: StoredLora, base_shapes: Shapes | None = None) -> Served:
    """What servers read of files."""
    facts, config = stored.facts(), stored.config
    return Served(
        r=config.r,
        alpha=config.lora_alpha,
        use_rslora=config.use_rslora,
        modules=facts,
        absent=frozenset(missing(facts, base_shapes)),
    )


def better_uniform(stored: Served, base_shapes: Shapes | None = None) -> bool:
    """Whether some server reads the uniform form right and not the stored one."""
    uniform = uniform_served(stored, base_shapes)
    return any(verdict(row, stored).answer != "right" and verdict(row, uniform).answer == "right" for row in SERVERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One server: its verdict on the stored files, and whether it reads their uniform form right."""

    verdict: Verdict
    uniform: bool
    rank: int

    def to_dict(self) -> dict[str, object]:
        """JSON form: the verdict's, `uniform`, and `rank`, the largest that the server has to hold then."""
        return {**self.verdict.to_dict(), "uniform": self.uniform, "rank": self.rank}


def advice(facts: AdapterFacts, base_shapes: Shapes | None = None) -> list[Advice]:
    """What each server makes of a stored adapter, as it is and in the uniform form. See `servers.verdicts`."""
    reason = reason_against(facts)
    if reason:
        refused = (Verdict(server=row.name, label=row.label, answer="refuses", why=reason) for row in SERVERS)
        return [Advice(verdict=one, uniform=False, rank=facts.ranks[1]) for one in refused]
    return advice_on(served_of(facts, base_shapes), base_shapes)


def advice_on(stored: Served, base_shapes: Shapes | None = None) -> list[Advice]:
    """The same of a plain LoRA as servers read it."""
    uniform, largest = uniform_served(stored, base_shapes), max(fact.r for fact in stored.modules.values())
    rows = []
    for row in SERVERS:
        found, other = verdict(row, stored), verdict(row, uniform).answer == "right"
        rank = uniform.r if found.answer != "right" and other else largest
        rows.append(Advice(verdict=found, uniform=other, rank=rank))
    return rows


def uniform_served(stored: Served, base_shapes: Shapes | None = None) -> Served:
    """What servers read of the uniform form of an adapter."""
    modules = uniform_facts(stored.modules, missing(stored.modules, base_shapes))
    rank = next(iter(modules.values())).r
    return Served(r=rank, alpha=rank, modules=modules)
