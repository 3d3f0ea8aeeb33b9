"""How many rows of a dataset are prompts with completions, to learn from or to measure on, by its facts alone."""

from composition.formats.dataset.files import COMPLETION, REQUIRED
from hub.errors import Invalid
from hub.models import Version


def prompt_rows(dataset: Version, split: str, what: str) -> int:
    """How many rows of prompt and completion the split has; `what` needs them.

    Raises Invalid for another kind of repository, a split that isn't there, and `dataset.rows` for other rows.
    """
    if not dataset.repository.is_dataset:
        raise Invalid(f"{dataset} is of kind {dataset.repository.kind}; give a dataset.", field="datasets")
    splits, kinds = dataset.facts.get("splits", {}), dataset.facts.get("kinds", {})
    if split not in splits:
        there = ", ".join(sorted(splits)) or "none"
        raise Invalid(f"{dataset} has no split {split!r}; it has {there}.", field="split")
    given = kinds.get(split, COMPLETION)
    if given != COMPLETION:
        suited = [name for name in sorted(splits) if kinds.get(name, COMPLETION) == COMPLETION]
        do = f"Choose the split {' or '.join(suited)}." if suited else "Choose another dataset, or push such rows."
        raise Invalid(
            f"{dataset}, split {split}, has rows of {given} ({', '.join(REQUIRED.get(given, ()))}); {what} needs "
            f"prompt and completion. {do}",
            field="split" if suited else "datasets",
            code="dataset.rows",
            dataset=str(dataset),
            given=given,
            expected=COMPLETION,
        )
    return splits[split]
