"""Merging: one subcommand a method of the hub."""

import click

from hubctl.options.common import url_option
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


@click.group("merge", cls=MethodGroup, verb="merge", each=merge)
@url_option
def merge_command(url) -> None:
    """Merge adapters of one base into a new version of another repository.

    hubctl merge lego demo/a@v1 demo/b --rank 16 --to demo/ab --wait

    hubctl merge regmean demo/a demo/b --data a=a.jsonl --data b=demo/b-data --to demo/ab --wait
    """
