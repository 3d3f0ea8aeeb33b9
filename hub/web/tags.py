"""Template filters: numbers, sizes and times as people read them, and the two drawings every page repeats."""

from datetime import datetime
from json import dumps
from math import log2

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from composition.formats import FORMATS
from composition.formats.peft.types import MIXTURES

register = template.Library()
UNITS = ("B", "kB", "MB", "GB", "TB")
SPANS = ((31_536_000, "year"), (2_592_000, "month"), (86_400, "day"), (3_600, "hour"), (60, "minute"))


@register.filter
def size(value: float | None) -> str:
    """Bytes in decimal units, three digits: 9.4 MB."""
    amount = float(value or 0)
    for unit in UNITS:
        if amount < 999.5 or unit == UNITS[-1]:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"
        amount /= 1000
    return ""


@register.filter
def count(value: float | None) -> str:
    """A count in three digits: 950, 1.2k, 135M."""
    amount = float(value or 0)
    for unit in ("", "k", "M", "G"):
        if amount < 999.5 or unit == "G":
            return (
                f"{amount:.0f}{unit}" if not unit or amount >= 99.5 else f"{amount:.1f}".rstrip("0").rstrip(".") + unit
            )
        amount /= 1000
    return ""


@register.filter
def ago(moment: datetime | str | None) -> SafeString | str:
    """A `<time>`: “3 days ago” to read, the exact moment to hover and for machines."""
    moment = datetime.fromisoformat(moment) if isinstance(moment, str) and moment else moment
    if not moment:
        return ""
    seconds = (timezone.now() - moment).total_seconds()
    words = "just now"
    for span, name in SPANS:
        if seconds >= span:
            n = int(seconds // span)
            words = f"{n} {name}{'s' if n > 1 else ''} ago"
            break
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', moment.isoformat(), moment.strftime("%-d %B %Y, %H:%M UTC"), words
    )


@register.filter
def duration(seconds: float | None) -> str:
    """A span of time: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@register.filter
def figure(value: object) -> str:
    """A measured number in at most four digits; whole numbers and words as they are, lists with commas."""
    if value is None:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{key} {figure(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(words(figure(item)) for item in value)
    if isinstance(value, bool) or not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if value != value or value in (float("inf"), float("-inf")):
        return "–"
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.2e}"


@register.filter
def percent(share: float | None) -> str:
    """A share in whole percent: 0.913 → 91 %."""
    return "–" if share is None else f"{100 * share:.0f} %"


@register.filter
def points(share: float | None, sign: str = "") -> str:
    """A share in points, one decimal: 0.913 → 91.3; with "+" always signed, and with a true minus."""
    return "–" if share is None else f"{100 * share:{sign}.1f}".replace("-", "−")


@register.filter
def signed(value: float | None) -> str:
    """A difference in two decimals, always signed, with a true minus: -0.061 → −0.06."""
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


@register.filter
def peft_type(name: str) -> str:
    """peft's spelling of a method as its paper writes it."""
    return {"LORA": "LoRA", **MIXTURES}.get(name, name)


@register.filter
def adapter_file(name: str) -> str:
    """Which of PEFT's two files a job's private input is, "config" or "weights"; "" for any other."""
    row = FORMATS["peft"]
    return {row.config: "config", row.weights: "weights"}.get(name, "")


@register.filter
def version_path(name: str) -> str:
    """The page of `ns/name@v1`; "" for a name that is hidden."""
    path, at, version = name.partition("@")
    return f"/{path}/at/{version}" if at else ""


@register.filter
def words(name: str) -> str:
    """A key of a report as words: `error_mean` → `error mean`."""
    return str(name).replace("_", " ")


@register.filter
def pairs(mapping: dict | None) -> list[tuple]:
    """(key, value) of a mapping; `.items` in a template would look for a key of that name first."""
    return list((mapping or {}).items())


@register.filter
def get(mapping: dict | None, key: object) -> object:
    """`mapping[key]`, or nothing."""
    return (mapping or {}).get(key, "")


@register.filter
def json(value: object) -> str:
    """A value as indented JSON."""
    return dumps(value, ensure_ascii=False, indent=1)


@register.simple_tag
def icon(name: str) -> SafeString:
    """A drawing of the sprite, silent for screen readers; the text beside it speaks."""
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>', static("icons.svg"), name)


@register.simple_tag
def factors(rank: int | None, origin: str = "") -> SafeString:
    """The two factors of an adapter, B tall and A wide, as thick as its rank (log scale, 1 to 256)."""
    thick = round(2 + 9 * min(log2(max(rank or 1, 1)), 8) / 8, 1)
    return format_html(
        '<svg class="factors {}" viewBox="0 0 40 28" aria-hidden="true"><rect class="b" x="1" y="1" width="{}" '
        'height="26" rx="1.5"/><rect class="a" x="{}" y="1" width="{}" height="{}" rx="1.5"/></svg>',
        origin,
        thick,
        thick + 3,
        36 - thick,
        thick,
    )
