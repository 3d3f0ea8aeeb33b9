"""Merging: one subcommand a method of the hub, and what helps to choose one."""

import click

from hubctl.commands.work.compare_merges import compare_command
from hubctl.options.common import url_option
from hubctl.options.job_options import AN_INPUT, job_options
from hubctl.options.method_group import MethodGroup


@click.command("METHOD")
@click.argument("inputs", nargs=-1, required=True, metavar="NAME[@REF]...")
@job_options(to="required", private=AN_INPUT)
def merge(job, inputs) -> int:
    """Merge with one method."""
    return job.start(inputs=inputs)


@click.group("merge", cls=MethodGroup, verb="merge", each=merge)
@url_option
def merge_command(url) -> None:
    """Merge adapters of one base into a new version of another repository.

    hubctl merge lego demo/a@v1 demo/b --rank 16 --to demo/ab --wait
    """


merge_command.add_command(compare_command)
