"""Pushing an adapter, a generator or a dataset."""

import sys

import click

from hubctl.errors import Refused
from hubctl.folders.way_on import with_way_on
from hubctl.options.common import need_token, with_hub
from hubctl.output import emit, transfer_bars


def pushed_text(name: str, result: dict) -> str:
    """What came of a push: one line, and one for each warning."""
    version = result.get("version")
    if not result["created"]:
        said = f"{name}: the hub holds exactly this already" + (f" as {version}" if version else "")
    elif version:
        said = f"{name}@{version} pushed"
    else:
        said = f"{name}: revision {result['revision'][:10]} pushed; it has no version yet, as it is not complete"
    return "\n".join([said, *(f"warning: {warning}" for warning in result.get("warnings") or ())])


def push_and_show(hub, source, name: str, as_json: bool, tags=(), **options) -> dict:
    """Push with bars, set tags, print what came of it; what was left out is said on stderr."""
    need_token(hub)
    with transfer_bars(quiet=as_json) as moved:
        result = hub.push(source, name, moved=moved, said=lambda line: print(line, file=sys.stderr), **options)
    path = result["repository"]
    for tag in tags:
        hub.set_tag(f"{path}@{result['version'] or result['revision']}", tag)
    emit({**result, "tags": list(tags)}, as_json, pushed_text(path, result))
    return result


@click.command("push")
@click.argument("folder")
@click.argument("name")
@click.option("--base", metavar="BASE", help="The base model it was trained on; default: the one its config names.")
@click.option("--message", "-m", default="", help="What changed.")
@click.option("--private", is_flag=True, help="Make the repository private, if this push makes it.")
@click.option("--tag", "tags", multiple=True, help="Point this tag at the new version. Repeatable.")
@click.option(
    "--kind",
    type=click.Choice(["adapter", "generator", "dataset"]),
    help="What it is; default: what the files of the folder say.",
)
@click.option("--include", multiple=True, metavar="GLOB", help="Push these files only, as '*.json'. Repeatable.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these files or folders out. Repeatable.")
@click.option("--all", "everything", is_flag=True, help="Push also what training and tools leave behind.")
@click.option(
    "--rename",
    is_flag=True,
    help="Where the hub can mend the tensors' names, push a mended copy; FOLDER stays as it is.",
)
@click.option(
    "--delete", "deletions", multiple=True, metavar="PATH", help="Delete this file from the repository. Repeatable."
)
@with_hub
def push_command(hub, folder, name, tags, as_json, **options) -> None:
    """Push FOLDER to NAME (namespace/name), which is made if it is missing.

    An upload that was cut resumes where it stopped when the same command runs again. Optimizer states, logs and hidden
    files stay here and are named. A push that is refused names all files that stand in its way, and makes nothing.
    """
    try:
        push_and_show(hub, folder, name, as_json, tags, **options)
    except Refused as error:
        raise with_way_on(error, folder, name, _given(options, tags)) from None


def _given(options: dict, tags) -> list[str]:
    """The options of this command as they were given."""
    words = [flag for name, flag in FLAGS.items() if options[name]]
    for name, values in {**options, "tags": tags}.items():
        if name not in FLAGS:
            for value in values if isinstance(values, tuple) else [values] if values else []:
                words += [OPTIONS.get(name, f"--{name}"), value]
    return words


FLAGS = {"private": "--private", "everything": "--all", "rename": "--rename"}
OPTIONS = {"tags": "--tag", "deletions": "--delete"}
