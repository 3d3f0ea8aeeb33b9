"""Which adapter fed which cluster of a merge: one strip a module, one column a cluster, one colour an adapter.

`report["modules"][name]["sources"]` is k × n: how many of cluster i's units came from adapter j.
"""

from hub.web.charts.modules import place_in_layer, split

COLUMN, HIGH = 7, 22
COLOURS = 8


def strips(report: dict) -> list[dict]:
    """Per layer: {"layer", "modules": [{"name", "kind", "width", "paths": [(colour, path)], …figures}]}."""
    layers: dict[object, list[dict]] = {}
    modules = report.get("modules", {})
    for name in sorted(modules, key=place_in_layer):
        module = modules[name]
        place = split(name)
        row = {"name": name, "kind": place[1] if place else name, **module, **strip(module.get("sources") or [])}
        layers.setdefault(place[0] if place else None, []).append(row)
    ordered = sorted(layers, key=lambda layer: -1 if layer is None else layer)
    return [{"layer": layer, "modules": layers[layer]} for layer in ordered]


def strip(sources: list[list[int]]) -> dict:
    """Columns of equal height, each filled from below by its adapters' shares; the purest of each adapter first."""
    ordered = sorted((row for row in sources if sum(row)), key=lambda row: (row.index(max(row)), -max(row) / sum(row)))
    paths: dict[int, list[str]] = {}
    for column, counts in enumerate(ordered):
        y = float(HIGH)
        for adapter, n in enumerate(counts):
            if n:
                height = HIGH * n / sum(counts)
                y -= height
                paths.setdefault(adapter, []).append(
                    f"M{column * COLUMN} {y:.4g}h{COLUMN - 1}v{height:.4g}h-{COLUMN - 1}z"
                )
    drawn = [{"colour": adapter % COLOURS, "d": "".join(parts)} for adapter, parts in sorted(paths.items())]
    return {"width": max(len(ordered) * COLUMN, 1), "height": HIGH, "paths": drawn}


def shares(report: dict, names: list[str]) -> list[dict]:
    """Each adapter's part of all units, and how many clusters it fed alone."""
    rows = [row for module in report.get("modules", {}).values() for row in module.get("sources") or [] if sum(row)]
    if not rows:
        return []
    total = sum(map(sum, rows))
    answers = []
    for index in range(max(map(len, rows))):
        units = sum(row[index] for row in rows if index < len(row))
        alone = sum(1 for row in rows if index < len(row) and row[index] == sum(row))
        fed = sum(1 for row in rows if index < len(row) and row[index])
        answers.append(
            {
                "name": names[index] if index < len(names) else f"adapter {index + 1}",
                "colour": index % COLOURS,
                "units": units,
                "share": round(100 * units / total, 1),
                "fed": fed,
                "alone": alone,
                "clusters": len(rows),
            }
        )
    return answers
