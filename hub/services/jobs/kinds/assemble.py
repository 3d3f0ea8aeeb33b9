"""Assembling: adapters of one base become a mixture whose router sends each token to the right ones.

The first input may itself be a mixture: its experts then stand for it, the others join them, and the datasets that its
router learnt from are taken over from the job that made it, as far as the person may still read them.
"""

from collections.abc import Mapping, Sequence

from composition.facts import AdapterFacts
from composition.formats.mixture.config import AssemblyConfig
from composition.formats.peft.names import CONFIG_FILE
from composition.formats.strict_json import strict_loads
from composition.recipes import AssembleRecipe, Recipe
from composition.recipes.base import Inputs
from composition.recipes.growth import check_growth, expert_facts, routing_of
from composition.recipes.method import Method
from hub import queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import DATASET, Version
from hub.services.base_families import other_base
from hub.services.content.dataset_rows import prompt_rows
from hub.services.content.manifest import BlobSource, manifest_of, read_whole
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import parameters_of, unfit_facts
from hub.services.jobs.kinds.combining import Combining
from hub.services.jobs.request import JobRequest

# Rough, for one core and fp32: floating-point operations a second in training, tokens of a row.
FLOPS = 8e10
TOKENS = 64
ROUTER = "a router"
ROUTED = 32  # rows of each task that the routing report reads
Datasets = Sequence[Version]


class Assemble(Combining):
    """Two plain LoRAs or more in, or a mixture and what joins it; a mixture out."""

    recipe = AssembleRecipe
    reads_data = True

    def grows(self, request: JobRequest) -> bool:
        return bool(request.adapters and request.adapters[0].is_mixture)

    def labels_data(self, method: Method) -> bool:
        return method.recipe.needs_labels

    def recipe_of(self, request: JobRequest) -> Mapping[str, object]:
        """With what the mixture decides where the request says nothing: stage, routing, the split of its data."""
        if not self.grows(request) or request.adapters[0].facts["peft_type"] != request.kind.upper():
            return request.recipe
        mixture = request.adapters[0]
        before = {"split": mixture.recipe["split"]} if "split" in (mixture.recipe or {}) else {}
        return before | routing_of(_config_of(mixture).raw) | dict(request.recipe)

    def with_data(self, viewer: Viewer, recipe: AssembleRecipe, request: JobRequest) -> JobRequest:
        """The datasets of all experts, where only those of the joining adapters were given (SMoRA: earlier texts too).

        Invalid where the viewer can't read what the mixture learnt from, or there is no record of it.
        """
        if not self.grows(request) or not recipe.trains or not request.datasets:
            return request
        if not all(version.repository.is_adapter for version in request.adapters):
            return request  # `check` refuses them.
        mixture, joining = request.adapters[0], len(request.adapters) - 1
        if recipe.needs_labels and len(request.datasets) != joining:
            return request
        earlier = _earlier_data(mixture)
        seen = queries.seen(viewer, [version.repository_id for version in earlier])
        whole = all(version.repository_id in seen for version in earlier)
        names = [name for name, _ in self.facts(request)]
        if recipe.needs_labels and (not whole or len(earlier) != len(names) - joining):
            raise Invalid(
                f"The data that the router of {mixture} learnt from are not recorded, or you may not read them, so "
                f"they can't be taken over. Give one dataset for each expert, in this order: {', '.join(names)}.",
                field="datasets",
            )
        kept = [one for one in earlier if one.repository_id in seen and one not in request.datasets]
        return request.replace(datasets=(*(earlier if recipe.needs_labels else kept), *request.datasets))

    def check_facts(self, draft: Draft) -> None:
        self._check_growth(draft)
        super().check_facts(draft)
        self._check_data(draft.recipe, draft.request)

    def check_datasets(self, draft: Draft) -> None:
        """Any number; how many suit is for `_check_data` to say."""

    def facts(self, request: JobRequest) -> Inputs:
        """(name, facts) of every expert to be: a mixture's own in their order, then the other adapters."""
        plain = super().facts(request)
        if not self.grows(request):
            return plain
        mixture = request.adapters[0]
        return [*expert_facts(_config_of(mixture), AdapterFacts.from_dict(mixture.facts)), *plain[1:]]

    def misfit(self, method: Method, first: Version, version: Version, recipe: Recipe | None = None) -> str:
        if reason := other_base(first, version, across=bool(recipe and recipe.across_quantisations)):
            return reason
        if version == first and version.facts["peft_type"] == method.kind.upper():
            return ""  # Adapters may join this mixture.
        if first.is_mixture and not version.facts["needs_base"]:
            return ""
        return unfit_facts(first, version, method, recipe)

    def cost(self, draft: Draft) -> dict[str, object]:
        recipe, request = draft.recipe, draft.request
        facts = self.facts(request)
        ranks = recipe.output_ranks(facts)
        widths = {name: module.in_features for _, fact in facts for name, module in fact.modules.items()}
        rows = len(facts) if recipe.needs_labels else 0
        gates = sum(4 * width * (rows or ranks[name]) for name, width in widths.items())
        size = sum(AdapterFacts.from_dict(version.facts).bytes for version in request.adapters) + gates
        parameters = parameters_of(draft.base)
        seconds = 5.0
        if recipe.trains:
            counts = [prompt_rows(dataset, recipe.split, ROUTER) for dataset in request.datasets]
            # A row costs three forward passes in training; held-out rows are read before and after, some for routing.
            trained = recipe.steps_for(sum(counts)) * recipe.batch_size
            read = 2 * recipe.holdout * sum(counts) + sum(min(count, ROUTED) for count in counts)
            seconds += (3 * trained + read) * TOKENS * parameters * 2 / FLOPS
        return {
            "ranks": ranks,
            "rank": max(ranks.values(), default=0),
            "bytes": size,
            "seconds": round(seconds, 1),
            "memory": int(parameters * 4 * 1.5 + size * 4),
        }

    def _check_growth(self, draft: Draft) -> None:
        """Refuse what can't join a mixture; nothing where no mixture is among the inputs."""
        for version in draft.request.adapters[1:]:
            if version.is_mixture:
                raise Invalid(
                    f"{version} is a mixture itself. Put the mixture first and join adapters to it; two mixtures can't "
                    "be joined: give the second one's experts as adapters.",
                    field="inputs",
                )
        if self.grows(draft.request):
            mixture = draft.request.adapters[0]
            check_growth(str(mixture), _config_of(mixture), draft.recipe)

    def _check_data(self, recipe: AssembleRecipe, request: JobRequest) -> None:
        """Refuse datasets that don't suit: too many, without the split, empty, or missing where the router learns."""
        if request.datasets and not recipe.trains:
            raise Invalid("train=prototype learns from no data. Leave the datasets out.", field="datasets")
        names = [name for name, _ in self.facts(request)]
        if recipe.needs_labels and len(request.datasets) > len(names):
            raise Invalid(
                f"{recipe.name} takes one dataset for each adapter, in their order: {len(names)}, "
                f"got {len(request.datasets)}.",
                field="datasets",
            )
        counts = [prompt_rows(dataset, recipe.split, ROUTER) for dataset in request.datasets]
        labels = names if recipe.needs_labels else [str(dataset) for dataset in request.datasets]
        recipe.check_data(names, dict(zip(labels, counts, strict=False)))


def _earlier_data(mixture: Version) -> list[Version]:
    """The datasets that a mixture's router learnt from, in the order of its experts."""
    if mixture.job is None:
        return []
    rows = mixture.job.inputs.filter(role=DATASET).select_related("version__repository__namespace")
    return [row.version for row in rows]


def _config_of(version: Version) -> AssemblyConfig:
    """The adapter_config.json of a mixture's version."""
    manifest = manifest_of(version.revision)
    raw = strict_loads(read_whole(BlobSource(manifest[CONFIG_FILE])), area="config", what=CONFIG_FILE)
    return AssemblyConfig(raw)


HOME = Assemble()
