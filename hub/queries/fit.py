"""Which versions a method could take together."""

from collections.abc import Sequence

from composition.errors import CompositionError, RecipeError
from composition.facts import AdapterFacts
from composition.registry import METHODS
from hub.models import (
    Version,
)


def mergeable(chosen: Sequence[Version], kind: str) -> list[dict]:
    """For each version whether method `kind` could take it beside the first one chosen, and if not, why."""
    answers = []
    for version in chosen:
        reason = _unfit(chosen[0], version, kind)
        answers.append({"version": version, "fits": not reason, "reason": reason})
    return answers


def _unfit(first: Version, version: Version, kind: str) -> str:
    if version.base_id != first.base_id:
        return f"It belongs to {version.base}, the first one to {first.base}; a merge needs one base."
    facts = AdapterFacts.from_dict(version.facts)
    method = METHODS[kind]
    if version == first and method.verb == "assemble" and facts.peft_type == kind.upper():
        return ""  # adapters may join this mixture
    if facts.needs_base:
        return " ".join(f"{need['reason']} {need['do']}" for need in facts.needs_base)
    if method.verb == "assemble" and first.is_mixture:
        return ""
    chosen = [(str(first), AdapterFacts.from_dict(first.facts)), (str(version), facts)]
    try:
        method.recipe().check(chosen[: method.needs.max_inputs or 2] if version != first else chosen[:1])
    except RecipeError:
        return ""  # The recipe's defaults are judged where its values are given.
    except CompositionError as error:
        return "" if error.code == "merge.too_few_inputs" else error.message
    return ""
