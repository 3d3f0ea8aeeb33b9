"""`hubctl`, the command line of an adapter hub. Commands live one file a noun in `hubctl/commands` (those about
jobs in `work/`) and load when named.

Exit codes are listed in `hubctl/errors.py` and under `hubctl --help`.
"""

import os
import sys
from importlib import import_module
from typing import Any

import click

from hubctl.errors import EXIT_CODES, HubctlError
from hubctl.output import report_error

COMMANDS = {
    "login": ("account", "Sign in and remember a token."),
    "logout": ("account", "Forget the remembered token."),
    "whoami": ("account", "Show who is signed in."),
    "usage": ("account", "Show what is used of the hub's limits."),
    "token": ("tokens", "Make, list and revoke tokens."),
    "base": ("bases", "Register and list base models."),
    "push": ("push", "Push an adapter folder as a new version."),
    "pull": ("pull", "Fetch a version into a folder."),
    "import": ("imports", "Bring adapters from a Hugging Face Hub."),
    "export": ("pull", "Write an adapter and its base as one model."),
    "extract": ("extract", "Write a LoRA of what a fine-tuned model has learned."),
    "sync": ("sync", "Make a folder hold the adapters that a tag points at."),
    "list": ("repositories", "List repositories."),
    "search": ("repositories", "Search repositories by words."),
    "info": ("repositories", "Show a repository or one version."),
    "tag": ("repositories", "Point tags at versions, protect them, show their history."),
    "pulls": ("repositories.pulls", "List, show, merge and close proposals."),
    "delete": ("repositories", "Move a repository to the trash."),
    "restore": ("repositories", "Bring a deleted repository back."),
    "dataset": ("datasets", "Push evaluation data."),
    "merge": ("work.merge", "Merge adapters into a new one."),
    "assemble": ("work.assemble", "Assemble adapters into a mixture that routes every token."),
    "transfer": ("work.transfer", "Move an adapter to another base model."),
    "generate": ("work.generate", "Turn texts into an adapter that knows them."),
    "generator": ("work.generator", "Train a generator, which turns texts into adapters of a base."),
    "run": ("work.run", "Start a job of any kind that the hub offers."),
    "seeds": ("companions", "Keep seed examples with an adapter."),
    "discriminator": ("work.discriminator", "Train a discriminator between an adapter's real and invented inputs."),
    "companions": ("companions", "List, fetch and remove what is kept beside a repository."),
    "eval": ("work.evaluate", "Measure an adapter on a dataset."),
    "try": ("work.try_out", "Ask an adapter something, with and without it."),
    "verdict": ("work.verdict", "Say whether a transfer lost something."),
    "compare": ("work.evaluate", "Compare measured versions."),
    "jobs": ("work.jobs", "List, watch, cancel and retry jobs."),
}
PACKAGE = "adapter-hub"
CODES = "\n".join(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items())


class Commands(click.Group):
    """The commands by name; the file of one is imported when it is called, so that the rest costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = import_module(f"hubctl.commands.{COMMANDS[name][0]}")
        return getattr(module, f"{name}_command")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def show_version(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    """Print the version of the installed package; a hub's source tree has none."""
    if not asked or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"hubctl {version(PACKAGE)}")
    except PackageNotFoundError:
        click.echo("hubctl of a source tree")
    ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=f"\b\nExit codes:\n{CODES}")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version, help="Show it.")
def cli() -> None:
    """Keep, merge and move LoRA adapters.

    Every command takes --json, for programs, and --url; HUBCTL_URL and HUBCTL_TOKEN replace `hubctl login`.
    """


def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in given
    try:
        result: Any = cli.main(args=given, prog_name="hubctl", standalone_mode=False)
    except HubctlError as error:
        report_error(error, as_json)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("hubctl: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]
        return 0
    return result if isinstance(result, int) else 0


def main() -> None:
    """The entry point: run, and leave with the exit code.

    A program of its own takes one thread for numpy's algebra, said before numpy loads: several spin beside a busy core.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    sys.exit(run())
