"""Commands whose options are the fields of a recipe, as the hub lists them under /methods.

A method added to the hub is a command here at once, with its options and their help.
"""

from typing import Any

import click

from hubctl.errors import HubctlError, Refused
from hubctl.options.common import connect


def hub_url(arguments: list[str]) -> str | None:
    """The value of `--url` among arguments that are not parsed yet: options must be known before parsing."""
    return value_of("--url", arguments)


def group_url(ctx: click.Context) -> str | None:
    """The address that was given to the group which a command stands in."""
    return ctx.meta.get("hubctl.url")


def value_of(option: str, arguments: list[str]) -> str | None:
    """The value of an option among arguments that are not parsed yet."""
    for place, word in enumerate(arguments):
        if word == option and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def methods(verb: str, url: str | None) -> list[dict[str, Any]]:
    """The hub's methods of this verb; of all verbs where it is ""."""
    with connect(url) as hub:
        return [method for method in hub.methods() if verb in ("", method["verb"])]


class MethodCommand(click.Command):
    """A command with the fields of one method's recipe as options; the command's own options come first and win."""

    def __init__(self, *args: Any, method: dict[str, Any] | None = None, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.own = list(self.params)
        self.draw(method)

    def draw(self, method: dict[str, Any] | None) -> None:
        """Offer the options of this method's recipe; None offers none."""
        self.method = method
        taken = {name for param in self.own for name in (param.name, *param.opts)}
        drawn = options_of(method["fields"] if method else [])
        self.drawn = [option for option in drawn if not taken & {option.name, *option.opts}]
        self.params = [*self.own, *self.drawn]

    def recipe_of(self, given: dict[str, Any]) -> dict[str, Any]:
        """The recipe's fields that were set, taken out of `given`; the rest keep the hub's defaults."""
        recipe = {option.name: given.pop(option.name, None) for option in self.drawn}
        return {str(name): value for name, value in recipe.items() if value is not None}


class RecipeCommand(MethodCommand):
    """The same, with the method asked for at the hub when the command is called: `--method`, else the verb's first.

    `--help` works without a hub.
    """

    def __init__(self, *args: Any, verb: str, default: str = "", **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.verb, self.default = verb, default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_help = any(word in ("-h", "--help") for word in args)
        kind = value_of("--method", args) or self.default
        try:
            known = {method["kind"]: method for method in methods(self.verb, hub_url(args) or group_url(ctx))}
        except HubctlError:
            if not asks_help:
                raise
            known = {}
        if known and kind and kind not in known:
            raise click.BadParameter(
                f"{kind!r} is not a method here; this hub has {', '.join(known)}.", ctx, param_hint="--method"
            )
        if not known and not asks_help:
            raise Refused(f"this hub has no method to {self.verb}.")
        self.draw(known.get(kind) or next(iter(known.values()), None))
        return super().parse_args(ctx, args)


def options_of(fields: list[dict[str, Any]]) -> list[click.Option]:
    """One option a field. Bounds are shown here and enforced by the hub, so that they live in one place."""
    return [_option(field) for field in fields]


def _option(field: dict[str, Any]) -> click.Option:
    name = f"--{field['name'].replace('_', '-')}"
    type_ = field["type"]
    bounds = [f"at least {field['minimum']:g}"] if field.get("minimum") is not None else []
    bounds += [f"at most {field['maximum']:g}"] if field.get("maximum") is not None else []
    default = field.get("default")
    shown = ",".join(map(str, default)) if isinstance(default, list) else default
    bounds += [f"default {shown}"] if default is not None else []
    said = field["help"] + (f" [{'; '.join(bounds)}]" if bounds else "")
    common: dict[str, Any] = {"help": said, "required": field["required"], "default": None}
    if type_ == "boolean":
        return click.Option([f"{name}/--no-{name[2:]}", field["name"]], **common)
    types = {
        "integer": click.INT,
        "number": click.FLOAT,
        "choice": click.Choice(field.get("choices") or []),
        "numbers": Listed(click.FLOAT),
        "choices": Listed(click.Choice(field.get("choices") or [])),
    }
    return click.Option([name, field["name"]], type=types.get(type_, click.STRING), **common)


class Listed(click.ParamType):
    """Values with commas between: 1,0.5,2."""

    def __init__(self, item: click.ParamType) -> None:
        self.item = item
        self.name = f"{item.name},…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Any]:
        if isinstance(value, list):
            return value
        return [self.item.convert(word.strip(), param, ctx) for word in str(value).split(",") if word.strip()]
