"""Methods by what one wants of them, as the merge page offers them."""

from collections.abc import Sequence

from composition.registry import Method

WANTED = {
    "balance": (
        "Small and balanced",
        "One adapter of ordinary rank that does something of everything. No data needed.",
    ),
    "data": ("With a little data", "A few dozen prompts a task are at hand: these keep by far the most."),
    "conflicts": ("Few conflicts", "The adapters pull in different directions, and what they fight over is settled."),
    "exact": ("Keep exactly", "Every update in full; the rank is the sum of theirs."),
    "difference": ("Take apart", "One update without another, or what changed between two."),
    "federated": ("Rounds of federated training", "The same adapter from many clients, weighted by their rows."),
    None: ("Others", ""),
}
APART = ("Keep them apart", "Nothing is merged: a router sends every token to the adapters that serve it.")


OPEN = ("balance", "data")


def grouped(merges: Sequence[Method], mixtures: Sequence[Method], chosen: Method) -> list[dict]:
    """[{"title", "when", "methods", "open"}], groups without a method left out; mixtures come last.

    Open are those that most people want, and the one that holds the chosen method.
    """
    groups = [
        _group(title, when, [method for method in merges if method.purpose == purpose], chosen, purpose in OPEN)
        for purpose, (title, when) in WANTED.items()
    ]
    return [group for group in [*groups, _group(*APART, list(mixtures), chosen)] if group["methods"]]


def _group(title: str, when: str, methods: list[Method], chosen: Method, opened: bool = False) -> dict:
    return {"title": title, "when": when, "methods": methods, "open": opened or chosen in methods}
