"""Running a method of any kind by its name: what a hub gains is usable at once, without a command of its own."""

from typing import Any

import click

from hubctl.local_data import text_or_companion
from hubctl.options.common import url_option
from hubctl.options.job_options import AN_INPUT, job_options
from hubctl.options.method_group import MethodGroup
from hubctl.requests import NO_ROLES

ROLE_HELP = "An input with a role of its own, such as generator, onto or without. Repeatable."
FILE_HELP = (
    "A private input, such as seeds, real, index or context: a local UTF-8 file, or companion:NAME for one kept beside "
    "the adapter. It is for this job only. Repeatable."
)


class Pair(click.ParamType):
    """`ROLE=VALUE`, as (role, value)."""

    def __init__(self, shape: str) -> None:
        self.name = shape

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        role, equals, named = str(value).partition("=")
        if not (equals and named and role.isidentifier()):
            self.fail(f"{value!r} is not {self.name}: write a word, an equals sign and a value.", param, ctx)
        return role, named


class Kinds(MethodGroup):
    """Every kind of job that /methods lists."""

    heading = "Kinds"

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.methods(ctx):
            raise click.UsageError(
                f"{args[0]!r} is not a kind of job here; this hub has {', '.join(self.methods(ctx))}."
            )
        return super().resolve_command(ctx, args)


@click.command("KIND")
@click.argument("inputs", nargs=-1, metavar="[NAME[@REF]]...")
@click.option("--dataset", "datasets", multiple=True, metavar="NAME[@REF]", help="Data it works on. Repeatable.")
@click.option("--base", metavar="BASE", help="The base it runs on, or the base that the result is for.")
@click.option("--role", "roles", multiple=True, type=Pair("ROLE=NAME[@REF]"), help=ROLE_HELP)
@click.option("--file", "files", multiple=True, type=Pair("ROLE=PATH"), help=FILE_HELP)
@click.option("--keep", multiple=True, metavar="WORD", help="Keep this beside the result: context, state. Repeatable.")
@job_options(to="optional", private=AN_INPUT, public="Make the result public, where its inputs allow it.")
def run_kind(job, inputs, datasets, base, roles, files, keep) -> int:
    """Start a job of one kind."""
    others, paths = once("--role", roles), once("--file", files)
    if wrong := NO_ROLES & set(others):
        raise click.UsageError(f"--role {min(wrong)}=…: {min(wrong)!r} is not a role; `--help` lists the options.")
    job.connect()
    texts = {role: text_or_companion(path) for role, path in paths.items()}
    return job.start(inputs=inputs, datasets=datasets, base=base, files=texts, keep=keep, **others)


def once(option: str, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """role → value; a usage error where a role is given twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise click.UsageError(f"{option} is given twice for one role: {', '.join(role for role, _ in pairs)}.")
    return found


@click.group("run", cls=Kinds, verb="", each=run_kind, subcommand_metavar="KIND [ARGS]...")
@url_option
def run_command(url) -> None:
    """Start a job of any kind that the hub offers; KIND --help shows the options of one.

    hubctl run svd demo/a demo/b --rank 8 --to demo/ab --wait

    hubctl run generate --base org/model --file context=doc.txt --role generator=demo/gen --to demo/doc
    """
