"""What is wrong with a card, and what to know of it, before it is pushed: clients ask this with every README."""

from hub.errors import Invalid
from hub.licences import KNOWN
from hub.services.content.cards import read_card
from hub.services.known_bases import match_base

NO_METADATA = "empty or missing yaml metadata in repo card"


def check_card(text: str, *, dataset: bool = False) -> tuple[list[str], list[str]]:
    """(errors, warnings) as sentences. A card with errors is one that clients don't push."""
    text = text.lstrip()
    try:
        front = read_card(text.encode("utf-8", "surrogatepass")).front
    except Invalid as refusal:
        return [refusal.message], []
    if not front:
        return [], [f"{NO_METADATA}: say at least license, and base_model for an adapter."]
    errors = [said for said in (_licence(front.get("license")), _results(front.get("model-index"))) if said]
    return errors, [] if dataset else _about_the_base(front)


def _licence(given: object) -> str:
    names = given if isinstance(given, list) else [given]
    unknown = [name for name in names if name is not None and str(name).lower() not in KNOWN]
    if not unknown:
        return ""
    return (
        f'"license" must be one of [{", ".join(sorted(KNOWN))}], not {str(unknown[0])[:80]!r}; '
        'for any other, write "license: other" with license_name and license_link'
    )


def _results(given: object) -> str:
    if given is None or isinstance(given, list):
        return ""
    return '"model-index" must be an array of {name, results}'


def _about_the_base(front: dict) -> list[str]:
    given = front.get("base_model")
    names = given if isinstance(given, list) else [given]
    known = [name for name in names if isinstance(name, str)]
    return [
        f"base_model is {name[:100]!r}, which is not registered in this hub. It is what adapter_config.json names that "
        "counts for an adapter; register that base before its weights are pushed"
        for name in known[:5]
        if match_base(name) is None
    ]
