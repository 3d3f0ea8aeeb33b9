"""How many rows of a dataset are of the kind that a job reads, to learn from or to measure on, by its facts alone."""

from collections.abc import Sequence

from composition.formats.dataset.files import COMPLETION, REQUIRED
from hub.errors import Invalid
from hub.models import Version


def prompt_rows(dataset: Version, split: str, what: str, wanted: Sequence[str] = (COMPLETION,)) -> int:
    """How many rows of prompt and completion, or of another kind among `wanted`, the split has; `what` needs them.

    Raises Invalid for another kind of repository, a split that isn't there, and `dataset.rows` for other rows.
    """
    if not dataset.repository.is_dataset:
        raise Invalid(f"{dataset} is of kind {dataset.repository.kind}; give a dataset.", field="datasets")
    splits, kinds = dataset.facts.get("splits", {}), dataset.facts.get("kinds", {})
    if split not in splits:
        there = ", ".join(sorted(splits)) or "none"
        raise Invalid(f"{dataset} has no split {split!r}; it has {there}.", field="split")
    given = kinds.get(split, COMPLETION)
    if given not in wanted:
        suited = [name for name in sorted(splits) if kinds.get(name, COMPLETION) in wanted]
        needs = ", or ".join(" and ".join(REQUIRED[kind]) for kind in wanted)
        do = f"Choose the split {' or '.join(suited)}." if suited else "Choose another dataset, or push such rows."
        raise Invalid(
            f"{dataset}, split {split}, has rows of {given} ({', '.join(REQUIRED.get(given, ()))}); {what} needs "
            f"{needs}. {do}",
            field="split" if suited else "datasets",
            code="dataset.rows",
            dataset=str(dataset),
            given=given,
            expected=", ".join(wanted),
        )
    return splits[split]
