"""Assembling mixtures: one subcommand a method of the hub, with a small dataset for each adapter, or one mixed text."""

import click

from hubctl.options.common import url_option
from hubctl.options.data_option import data_option, datasets_of
from hubctl.options.job_options import AN_INPUT, job_options
from hubctl.options.method_group import MethodGroup


@click.command("METHOD")
@click.argument("inputs", nargs=-1, required=True, metavar="NAME[@REF]...")
@data_option("Text to train the router on")
@job_options(to="required", private=AN_INPUT)
def assemble(job, inputs, data) -> int:
    """Assemble with one method."""
    return job.start(inputs=inputs, datasets=datasets_of(job, inputs, data))


@click.group("assemble", cls=MethodGroup, verb="assemble", each=assemble)
@url_option
def assemble_command(url) -> None:
    """Assemble adapters of one base into a mixture that routes every token.

    hubctl assemble meteora demo/a demo/b --data a=a.jsonl --data b=b.jsonl --to demo/mix --top-k 2 --wait

    Where the first one is a mixture, the others join it: give data for those alone.

    hubctl assemble meteora demo/mix demo/c --data c=c.jsonl --to demo/mix --wait
    """
