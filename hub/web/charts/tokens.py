"""Which expert served which token of a text: coloured, numbered and told in words, so that nobody needs the colours.

Colours repeat after eight experts; the numbers don't. A number marks where another expert takes over.
"""

COLOURS = 8
TOLD = 3
LEAST = 0.005


def drawn(routing: dict | None) -> dict | None:
    """{"experts", "layers", "parts", "skipped", "data"}; None without routing or tokens.

    `experts` have number, colour, name and share (per cent); the tokens of each (title, tokens) of `parts` have text,
    number, colour, title, `first` where an expert takes over, and `special`. `data` is what the script needs.
    """
    if not routing or not routing["tokens"]:
        return None
    names, tokens = routing["experts"], routing["tokens"]
    rows = [_token(token, names) for token in tokens]
    for before, row in zip([None, *rows], rows, strict=False):
        row["first"] = before is None or before["number"] != row["number"]
    total = [round(100 * sum(token["shares"][n] for token in tokens) / len(tokens)) for n in range(len(names))]
    experts = [
        {"number": number + 1, "colour": number % COLOURS, "name": name, "share": total[number]}
        for number, name in enumerate(names)
    ]
    if routing["prompt"] < len(rows):
        rows[routing["prompt"]]["first"] = True
    return {
        "experts": experts,
        "layers": routing["layers"],
        "parts": [("Prompt", rows[: routing["prompt"]]), ("Answer", rows[routing["prompt"] :])],
        "skipped": routing["skipped"],
        "data": {"names": names, "experts": [t["expert"] for t in tokens], "layers": [t["layers"] for t in tokens]},
    }


def _token(token: dict, names: list[str]) -> dict:
    order = sorted(range(len(names)), key=lambda number: -token["shares"][number])
    told = [f"{names[n]} {100 * token['shares'][n]:.0f} %" for n in order[:TOLD] if token["shares"][n] >= LEAST]
    return {
        "text": token["text"].replace("\n", "↵\n"),
        "number": token["expert"] + 1,
        "colour": token["expert"] % COLOURS,
        "title": ", ".join(told),
        "special": token.get("special", False),
    }
