"""A training's loss as a picture: one line over its steps, and what was measured on rows kept from training."""

from dataclasses import dataclass
from math import isfinite

WIDE, HIGH, LEFT, BELOW = 640, 220, 52, 24
MOST = 400


@dataclass(frozen=True)
class Curve:
    """SVG paths in a box of `width` × `height`; `ticks` carry y and label, `end` is the last step."""

    width: int
    height: int
    line: str
    held: str
    dots: list[tuple[float, float]]
    ticks: list[dict]
    end: int


def curve(training: dict | None) -> Curve | None:
    """The drawing of a report's {"curve": [{step, loss}], "held_out": [{epoch, loss}], "steps"}, or None."""
    given = training or {}
    points = [(row["step"], row["loss"]) for row in given.get("curve") or [] if isfinite(row["loss"])]
    if len(points) < 2:
        return None
    points = points[:: max(1, len(points) // MOST)]
    steps = max(given.get("steps") or 0, points[-1][0])
    held = [(row["epoch"], row["loss"]) for row in given.get("held_out") or [] if isfinite(row["loss"])]
    epochs = held[-1][0] if held else 0
    held = [(steps * epoch / epochs if epochs else 0, loss) for epoch, loss in held]
    high = max(loss for _, loss in [*points, *held]) or 1.0

    def place(step: float, loss: float) -> tuple[float, float]:
        x = LEFT + (WIDE - LEFT - 6) * step / steps
        return round(x, 1), round(6 + (HIGH - BELOW - 6) * (1 - loss / high), 1)

    ticks = [{"y": place(0, high * share)[1], "label": f"{high * share:.2g}"} for share in (0.0, 0.5, 1.0)]
    dots = [place(*point) for point in held]
    return Curve(WIDE, HIGH, _path([place(*point) for point in points]), _path(dots), dots, ticks, steps)


def _path(places: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in places) if places else ""
