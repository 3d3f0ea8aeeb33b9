"""What every way to another base asks and tells: a target that is another base, and the shorter ways there may be."""

from collections.abc import Sequence

from composition.facts import AdapterFacts
from composition.recipes import ShortcutRecipe
from composition.recipes.method import Method
from composition.registry import METHODS
from hub.errors import Invalid
from hub.models import BaseModel, Version
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import JobKind
from hub.services.jobs.request import JobRequest
from hub.services.known_bases import require_shapes


class Move(JobKind):
    """One adapter in, an adapter on another base out. The homes are `transfer` and `transfer_shortcuts`."""

    changes_base = True

    def check(self, draft: Draft) -> None:
        self.check_counts(draft)
        self.check_facts(draft)
        self.check_target(draft)

    def check_datasets(self, draft: Draft) -> None:
        """A dataset is refused with what a transfer reads instead, after the adapter itself; see `check_target`."""

    def check_target(self, draft: Draft) -> None:
        """Refuse a target that is missing, the adapter's own, or one whose shapes nobody has read."""
        (version,), base = draft.request.adapters, draft.request.base
        if draft.request.datasets:
            raise Invalid("A transfer reads no dataset: its data are invented from the seeds.", field="datasets")
        if base is None:
            raise Invalid("Give the base to move the adapter to.", field="base", code="transfer.no_target")
        if base.pk == version.base_id:
            raise Invalid(
                f"{version} belongs to {base} already; choose another base.", field="base", code="transfer.same"
            )
        require_shapes(base)

    def bases(self, method: Method, adapters: Sequence[Version], base: BaseModel | None) -> list[BaseModel]:
        """Both: the adapter's before the target."""
        if not method.needs.base_model:
            return []
        return list(dict.fromkeys(one for one in [*(version.base for version in adapters), base] if one is not None))

    def shorter_ways(self, request: JobRequest) -> list[dict[str, str]]:
        """Ways without data that fit these bases, the surest first."""
        adapters, base = request.adapters, request.base
        if len(adapters) != 1 or base is None or base.shapes is None or adapters[0].base_id in (None, base.pk):
            return []
        if not adapters[0].repository.is_adapter:
            return []
        version, found = adapters[0], []
        near, pruned = relation(version.base, base), BaseModel.Relation.PRUNED in (version.base.relation, base.relation)
        for method in METHODS.values():
            if not issubclass(method.recipe, ShortcutRecipe) or misfit(method.recipe(), version, base):
                continue
            if not method.recipe.from_pruned or (near and pruned):
                reason = f"{method.summary} {near}".strip()
                found.append({"kind": method.kind, "label": method.label, "reason": reason})
        return found


def misfit(recipe: ShortcutRecipe, version: Version, base: BaseModel) -> str:
    """Why a way without data can't put this adapter on `base`; "" where it can."""
    facts = AdapterFacts.from_dict(version.facts)
    return recipe.misfit(str(version), facts, str(base), base.shapes or {})


def relation(source: BaseModel, target: BaseModel) -> str:
    """How two bases are related in the hub's tree, as a sentence; "" where they aren't."""
    for younger, elder, words in ((target, source, "derived from"), (source, target, "the origin of")):
        seen, at = set(), younger
        while at.derived_from_id and at.pk not in seen:
            seen.add(at.pk)
            at = at.derived_from
            if at.pk == elder.pk:
                how = f" ({younger.relation})" if younger.relation else ""
                return f"{target} is {words} {source}{how}."
    if source.derived_from_id and source.derived_from_id == target.derived_from_id:
        return f"Both are derived from {source.derived_from}."
    return ""
