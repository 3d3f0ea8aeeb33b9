"""Proposals of a repository: listed, shown, merged and closed."""

import click

from hubctl.options.common import need_token, with_hub
from hubctl.output import describe, emit, size, table


@click.group("pulls")
def pulls_command() -> None:
    """Look at what others propose for a repository, merge it or close it."""


@pulls_command.command("list")
@click.argument("name")
@click.option("--state", type=click.Choice(["open", "merged", "closed", "all"]), default="open", show_default=True)
@with_hub
def list_command(hub, name, state, as_json) -> None:
    """List the proposals of NAME (namespace/name), newest first."""
    found = hub.pulls(name, state)
    if as_json:
        emit(found, True)
        return
    rows = [[row["number"], row["title"], row["state"], row["author"], row["created_at"][:10]] for row in found]
    table(rows, ["number", "title", "state", "by", "since"], f"No proposals ({state}) for {name}.")


@pulls_command.command("show")
@click.argument("name")
@click.argument("number", type=int)
@with_hub
def show_command(hub, name, number, as_json) -> None:
    """Show what proposal NUMBER of NAME changes, what its check found and what stands in its way."""
    pull = hub.pull_request(name, number)
    if as_json:
        emit(pull, True)
        return
    found = pull["found"]
    pairs = [(key, pull[key]) for key in ("title", "state", "author", "target", "ref", "merged_as")]
    pairs += [("whole", "yes" if found.get("whole") else "no"), ("warnings", "\n".join(found.get("warnings") or []))]
    pairs += [("conflicts", ", ".join(pull["conflicts"]))]
    click.echo(describe([(key, value) for key, value in pairs if value]))
    files = [[f["change"], f["path"], *_sizes(f)] for f in pull["files"]]
    table(files, ["change", "file", "before", "after"], "It changes no file yet.")


@pulls_command.command("merge")
@click.argument("name")
@click.argument("number", type=int)
@with_hub
def merge_command(hub, name, number, as_json) -> None:
    """Merge proposal NUMBER into its branch of NAME."""
    need_token(hub)
    made = hub.merge_pull_request(name, number)
    version = f" as {made['version']}" if made["version"] else ""
    emit(made, as_json, f"{name}: proposal {number} merged{version}, revision {made['revision'][:10]}")


@pulls_command.command("close")
@click.argument("name")
@click.argument("number", type=int)
@click.option("--reopen", is_flag=True, help="Open it again instead.")
@with_hub
def close_command(hub, name, number, reopen, as_json) -> None:
    """Close proposal NUMBER of NAME without merging it."""
    need_token(hub)
    pull = hub.pull_request(name, number, "open" if reopen else "closed")
    emit(pull, as_json, f"{name}: proposal {number} is {pull['state']}")


def _sizes(file: dict) -> list[str]:
    return [size(file[key]) if file[key] is not None else "" for key in ("size_before", "size_after")]
