"""Pushing an adapter."""

import click

from hubctl.options.common import need_token, with_hub
from hubctl.output import emit, transfer_bars


def pushed_text(name: str, result: dict) -> str:
    """One line on what came of a push."""
    version = result.get("version")
    if not result["created"]:
        return f"{name}: the hub holds exactly this already" + (f" as {version}" if version else "")
    if version:
        return f"{name}@{version} pushed"
    return f"{name}: revision {result['revision'][:10]} pushed; it has no version yet, as it is not a complete adapter"


def push_and_show(hub, source, name: str, as_json: bool, tags=(), **options) -> dict:
    """Push with bars, set tags, print what came of it."""
    need_token(hub)
    with transfer_bars(quiet=as_json) as moved:
        result = hub.push(source, name, moved=moved, **options)
    for tag in tags:
        hub.set_tag(f"{name}@{result['version'] or result['revision']}", tag)
    emit({**result, "repository": name, "tags": list(tags)}, as_json, pushed_text(name, result))
    return result


@click.command("push")
@click.argument("folder")
@click.argument("name")
@click.option("--base", metavar="BASE", help="The base model it was trained on; default: the one its config names.")
@click.option("--message", "-m", default="", help="What changed.")
@click.option("--private", is_flag=True, help="Make the repository private, if this push makes it.")
@click.option("--tag", "tags", multiple=True, help="Point this tag at the new version. Repeatable.")
@click.option("--kind", default="adapter", type=click.Choice(["adapter", "generator", "dataset"]), show_default=True)
@click.option(
    "--delete", "deletions", multiple=True, metavar="PATH", help="Delete this file from the repository. Repeatable."
)
@with_hub
def push_command(hub, folder, name, base, message, private, tags, kind, deletions, as_json) -> None:
    """Push FOLDER to NAME (namespace/name), which is made if it is missing.

    An upload that was cut resumes where it stopped when the same command runs again.
    """
    push_and_show(
        hub, folder, name, as_json, tags, base=base, message=message, private=private, kind=kind, deletions=deletions
    )
