"""An assembly's inputs where the first is itself a mixture: its experts stand for it, its earlier data come along.

Whoever adds an adapter gives data for that one; the datasets that the mixture's router learnt from are taken over from
the job that made it, as far as the person may still read them.
"""

from collections.abc import Sequence

from composition.facts import AdapterFacts
from composition.formats.mixture.config import AssemblyConfig
from composition.formats.peft.names import CONFIG_FILE
from composition.formats.strict_json import strict_loads
from composition.recipes import AssembleRecipe
from composition.recipes.base import Inputs
from composition.recipes.growth import check_growth, expert_facts, routing_of
from composition.registry import METHODS
from hub import access, queries
from hub.errors import Invalid
from hub.models import User, Version
from hub.services.content.manifest import BlobSource, manifest_of, read_whole


def grows(kind: str, inputs: Sequence[Version]) -> bool:
    """Whether this job adds adapters to a mixture."""
    method = METHODS.get(kind)
    return bool(method and method.verb == "assemble" and inputs and inputs[0].is_mixture)


def facts_of(version: Version) -> AdapterFacts:
    """A version's facts."""
    return AdapterFacts.from_dict(version.facts)


def continued(kind: str, recipe: dict, inputs: Sequence[Version]) -> dict:
    """The recipe with what the mixture decides where it says nothing: stage, routing, the split of its data."""
    if not grows(kind, inputs) or inputs[0].facts["peft_type"] != kind.upper():
        return recipe
    before = {"split": inputs[0].recipe["split"]} if inputs[0].recipe else {}
    return before | routing_of(config_of(inputs[0]).raw) | recipe


def experts(kind: str, inputs: Sequence[Version]) -> Inputs:
    """(name, facts) of every expert to be: a mixture's own in their order, then the other adapters."""
    plain = [(str(version), facts_of(version)) for version in inputs]
    if not grows(kind, inputs):
        return plain
    return [*expert_facts(config_of(inputs[0]), facts_of(inputs[0])), *plain[1:]]


def check(recipe: AssembleRecipe, inputs: Sequence[Version]) -> None:
    """Refuse what can't join a mixture; nothing where no mixture is among the inputs."""
    for version in inputs[1:]:
        if version.is_mixture:
            raise Invalid(
                f"{version} is a mixture itself. Adapters join a mixture that stands first; two mixtures don't join: "
                "give the second one's experts as adapters.",
                field="inputs",
            )
    if grows(recipe.kind, inputs):
        check_growth(str(inputs[0]), config_of(inputs[0]), recipe)


def with_earlier_data(
    actor: User, kind: str, inputs: Sequence[Version], datasets: Sequence[Version], trains: bool
) -> list[Version]:
    """The datasets of all experts, where only those of the joining adapters were given (SMoRA: the earlier texts too).

    Invalid where the actor can't read what the mixture learnt from, or there is no record of it.
    """
    if not grows(kind, inputs) or not trains or not datasets:
        return list(datasets)
    joining = len(inputs) - 1
    labelled = METHODS[kind].recipe.needs_labels
    if labelled and len(datasets) != joining:
        return list(datasets)
    made_by = inputs[0].job
    rows = made_by.inputs.filter(role="dataset").select_related("version__repository__namespace") if made_by else []
    earlier = [row.version for row in rows]
    seen = queries.seen(access.Viewer(user=actor), [version.repository_id for version in earlier])
    whole = all(version.repository_id in seen for version in earlier)
    if labelled and (not whole or len(earlier) != len(experts(kind, inputs)) - joining):
        names = ", ".join(name for name, _ in experts(kind, inputs))
        raise Invalid(
            f"The data that the router of {inputs[0]} learnt from are not on record or not yours to read, so they "
            f"can't be taken over. Give one dataset for each expert, in this order: {names}.",
            field="datasets",
        )
    kept = [version for version in earlier if version.repository_id in seen and version not in datasets]
    return [*(earlier if labelled else kept), *datasets]


def config_of(version: Version) -> AssemblyConfig:
    """The adapter_config.json of a mixture's version."""
    manifest = manifest_of(version.revisions.order_by("pk").first())
    raw = strict_loads(read_whole(BlobSource(manifest[CONFIG_FILE])), area="config", what=CONFIG_FILE)
    return AssemblyConfig(raw)
