"""Moving an adapter between related bases without data: PortLLM, Cross-LoRA, LoRAM."""

from composition.formats.strict_json import strict_loads
from composition.recipes import ShortcutRecipe
from composition.recipes.method import Method
from hub.errors import Invalid
from hub.services.jobs.draft import Draft
from hub.services.jobs.files import Given, sent
from hub.services.jobs.kinds.base import parameters_of
from hub.services.jobs.kinds.moving import Move, misfit

INDEX = "index"


class MoveByWeights(Move):
    """What a recipe wants beside the adapter stands in its `wants`; the index map of a pruning is a private file."""

    recipe = ShortcutRecipe

    def check_target(self, draft: Draft) -> None:
        super().check_target(draft)
        if reason := misfit(draft.recipe, draft.request.adapters[0], draft.request.base):
            raise Invalid(reason, field="base", code="transfer.shapes")

    def file_roles(self, method: Method) -> tuple[str, ...]:
        return (INDEX,) if INDEX in method.recipe.wants else ()

    def find_files(self, draft: Draft) -> list[Given]:
        value = draft.request.files.get(INDEX)
        if value is None:
            return []
        if not isinstance(value, str):
            raise Invalid(f"files.{INDEX}: send its text.", field="files")
        data = value.encode()
        return [sent(INDEX, f"{INDEX}.json", data, _index_facts(data))]

    def check_files(self, draft: Draft) -> None:
        if self.file_roles(draft.method) and not draft.given:
            raise Invalid(
                "Send the index map that pruning left, as files.index: which rows and columns of each full weight "
                "remain.",
                field="files",
                code="transfer.no_index",
            )

    def cost(self, draft: Draft) -> dict[str, object]:
        (version,), recipe = draft.request.adapters, draft.recipe
        ranks, size = recipe.output_ranks(self.facts(draft.request)), version.facts["bytes"]
        rank = max(ranks.values(), default=getattr(recipe, "rank", None))
        both = sum(parameters_of(one) * 4 for one in self.bases(draft.method, [version], draft.request.base))
        seconds, memory = 5.0 + both / 1e8, int(both or size * 3)
        return {"ranks": ranks, "rank": rank, "bytes": size, "seconds": seconds, "memory": memory}


def _index_facts(data: bytes) -> dict[str, int]:
    """{"modules": how many}; Invalid for anything else."""
    index = strict_loads(data, area="index", what="index.json")
    if not isinstance(index, dict) or not index or not all(_is_entry(entry) for entry in index.values()):
        raise Invalid(
            'The index map is {"module": {"in": [0, 2, …], "out": [0, 1, …], "name": "in the full base"}}: whole '
            "numbers; leave out what was neither pruned nor renamed.",
            field="files",
        )
    return {"modules": len(index)}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not set(entry) <= {"in", "out", "name"}:
        return False
    sides = [entry[side] for side in ("in", "out") if entry.get(side) is not None]
    whole = all(isinstance(side, list) and all(type(n) is int and n >= 0 for n in side) for side in sides)
    return whole and isinstance(entry.get("name", ""), str)


HOME = MoveByWeights()
