"""Pushing an adapter, a generator or a dataset."""

import sys

import click

from hubctl.errors import Forbidden, HubctlError, NotFound, Refused
from hubctl.folders.each import OneOfEach, plan_each
from hubctl.folders.way_on import with_way_on
from hubctl.options.common import need_token, with_hub
from hubctl.output import emit, report_error, table, transfer_bars


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
    result = pushed(hub, source, name, as_json, tags, **options)
    emit(result, as_json, pushed_text(result["repository"], result))
    return result


def pushed(hub, source, name: str, quiet: bool, tags=(), **options) -> dict:
    """Push with bars unless `quiet`, and set tags."""
    with transfer_bars(quiet=quiet) as moved:
        result = hub.push(source, name, moved=moved, said=lambda line: print(line, file=sys.stderr), **options)
    path = result["repository"]
    for tag in tags:
        hub.set_tag(f"{path}@{result['version'] or result['revision']}", tag)
    return {**result, "tags": list(tags)}


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
@click.option(
    "--each",
    is_flag=True,
    help="Push every adapter in FOLDER's folders to a repository of its own, NAME-folder; of NAME without a slash, "
    "a namespace, NAME/folder.",
)
@click.option("--plan", "plan_only", is_flag=True, help="With --each: show what would go where, and send nothing.")
@with_hub
def push_command(hub, folder, name, tags, as_json, each, plan_only, **options) -> int:
    """Push FOLDER to NAME (namespace/name), which is made if it is missing.

    An upload that was cut resumes where it stopped when the same command runs again. Optimizer states, logs and hidden
    files stay here and are named. A push that is refused names all files that stand in its way, and makes nothing.

    With --each, folders that the hub refuses don't stop the others; the exit code is 1 then. The same command again
    pushes what is new.
    """
    if (plan_only and not each) or (each and options["deletions"]):
        raise click.UsageError("--plan goes with --each, and --delete with one repository alone.")
    if each:
        return push_each(hub, folder, name, as_json, plan_only, tags, options)
    try:
        push_and_show(hub, folder, name, as_json, tags, **options)
    except Refused as error:
        raise with_way_on(error, folder, name, _given(options, tags)) from None
    return 0


def push_each(hub, top: str, prefix: str, as_json: bool, plan_only: bool, tags, options: dict) -> int:
    """Show the plan, push one folder after the other, tell all refusals at the end; returns the exit code."""
    rows, left_out = plan_each(top, prefix, everything=options["everything"])
    if left_out:
        print(left_out, file=sys.stderr)
    plan = [{"folder": row.place(top), "repository": row.repository, "files": len(row.files)} for row in rows]
    if not as_json:
        table([list(row.values()) for row in plan], ("folder", "repository", "files"), "")
    if plan_only:
        emit({"plan": plan}, as_json)
        return 0
    need_token(hub)
    done, refused = [], []
    for row in rows:
        try:
            done.append(pushed(hub, row.files, row.repository, as_json, tags, **options))
        except (Refused, Forbidden, NotFound) as error:
            refused.append((row, _of_one(error, row, top, _given(options, tags))))
        else:
            if not as_json:
                print(pushed_text(row.repository, done[-1]), flush=True)
    problems = [{"folder": row.place(top), "repository": row.repository, **e.to_dict()} for row, e in refused]
    emit({"plan": plan, "pushed": done, "refused": problems}, as_json)
    for row, error in refused if not as_json else ():
        print(f"{row.place(top)} to {row.repository}:", file=sys.stderr)
        report_error(error, False)
    return 1 if refused else 0


def _of_one(error: HubctlError, row: OneOfEach, top: str, given: list[str]) -> HubctlError:
    return with_way_on(error, row.place(top), row.repository, given) if isinstance(error, Refused) else error


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
