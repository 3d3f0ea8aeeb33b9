"""Merging: one subcommand a method of the hub, and what helps to choose one."""

import click

from hubctl.commands.work.compare_merges import compare_command
from hubctl.commands.work.judging import best_command, candidates_command, measure_command, search_command
from hubctl.commands.work.recipe_files import run_file
from hubctl.options.common import json_option, url_option
from hubctl.options.data_option import data_option, datasets_of
from hubctl.options.job_options import AN_INPUT, job_options
from hubctl.options.method_group import MethodGroup


@click.command("METHOD")
@click.argument("inputs", nargs=-1, required=True, metavar="NAME[@REF]...")
@data_option("A little text, for methods that read it, such as regmean")
@job_options(to="required", private=AN_INPUT)
def merge(job, inputs, data) -> int:
    """Merge with one method."""
    return job.start(inputs=inputs, datasets=datasets_of(job, inputs, data))


@click.group("merge", cls=MethodGroup, verb="merge", each=merge, invoke_without_command=True)
@click.option(
    "--recipe", "path", metavar="FILE", help="Merge by this YAML, of `hubctl jobs recipe` or of mergekit; - reads it."
)
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="With --recipe: change a field. Repeatable."
)
@click.option("--to", "output", metavar="NAME", help="With --recipe: where the result goes, if not where it says.")
@click.option("--private", is_flag=True, help=f"With --recipe: {AN_INPUT[0].lower()}{AN_INPUT[1:]}")
@click.option("--wait/--no-wait", help="With --recipe: wait for the result.")
@click.option("--check", is_flag=True, help="With --recipe: only check it; start nothing.")
@click.option(
    "--idempotency-key", metavar="KEY", help="With --recipe: the same key and request give the same job again."
)
@json_option
@url_option
@click.pass_context
def merge_command(ctx, path, changes, url, **options) -> int | None:
    """Merge adapters of one base into a new version of another repository.

    hubctl merge lego demo/a@v1 demo/b --rank 16 --to demo/ab --wait

    hubctl merge regmean demo/a demo/b --data a=a.jsonl --data b=demo/b-data --to demo/ab --wait

    hubctl merge --recipe ab.yaml --to demo/ab --wait
    """
    if path and ctx.invoked_subcommand:
        raise click.UsageError("give --recipe FILE, or the name of a method; not both.")
    if not path and not ctx.invoked_subcommand:
        raise click.UsageError("name a method, or give --recipe FILE; --help lists them.")
    return run_file(path, changes, url=url, **options) if path else None


for command in (compare_command, search_command, candidates_command, best_command, measure_command):
    merge_command.add_command(command)
