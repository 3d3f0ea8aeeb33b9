"""Which form a LoRA is written in: `compact`, `uniform`, or `auto`, which asks the servers. Torch-free.

compact    each module's own rank and scale, by patterns where they differ; no module that is zero
uniform    the form that every server reads right (`uniform`)
auto       uniform where some server reads the compact form wrongly or refuses it, and reads the uniform one right
"""

from dataclasses import dataclass

from composition.errors import CompositionError
from composition.facts import AdapterFacts
from composition.formats.peft.completing import Shapes, missing
from composition.formats.peft.uniform import read_stored, uniform_facts, uniform_files
from composition.formats.servers import SERVERS, Served, Verdict, reason_against, served_of, verdict
from composition.formats.sources import Files, FileSource

AUTO, COMPACT, UNIFORM = LAYOUTS = ("auto", "compact", "uniform")


def laid_out(files: Files, layout: str, base_shapes: Shapes | None = None) -> dict[str, FileSource]:
    """The adapter's config and weights in this layout; {} where its files are in it as they are.

    What is no plain LoRA stays as it is with auto. Raises CompositionError `layout.unknown`, and with uniform
    `form.not_plain`.
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
        absent = frozenset(missing(stored.facts(), base_shapes))
        config = stored.config
        served = Served(
            r=config.r,
            alpha=config.lora_alpha,
            use_rslora=config.use_rslora,
            modules=stored.facts(),
            absent=absent,
        )
        if not better_uniform(served, base_shapes):
            return {}
    return uniform_files(files, base_shapes)


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
    stored = served_of(facts, base_shapes)
    uniform = uniform_served(stored, base_shapes)
    rows = []
    for row in SERVERS:
        found, other = verdict(row, stored), verdict(row, uniform).answer == "right"
        rank = uniform.r if found.answer != "right" and other else facts.ranks[1]
        rows.append(Advice(verdict=found, uniform=other, rank=rank))
    return rows


def uniform_served(stored: Served, base_shapes: Shapes | None = None) -> Served:
    """What servers read of the uniform form of an adapter."""
    modules = uniform_facts(stored.modules, missing(stored.modules, base_shapes))
    rank = next(iter(modules.values())).r
    return Served(r=rank, alpha=rank, modules=modules)
