"""A folder that follows a tag."""

import json
import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from typing import Any

import click

from hubctl.errors import HubctlError
from hubctl.options.common import with_hub
from hubctl.output import emit, report_error, transfer_bars

SECONDS, SECONDS_BESIDE_EVENTS = 30.0, 300.0
STDERR = 2


@click.command("sync")
@click.argument("names", nargs=-1)
@click.argument("folder")
@click.option("--tag", default="latest", metavar="REF", help="What to follow: a tag, latest (the default), or vN.")
@click.option("--namespace", "namespaces", multiple=True, metavar="NS", help="All adapters of it. Repeatable.")
@click.option("--base", metavar="BASE", help="All adapters of this base; with --namespace, those of it.")
@click.option("--uniform", is_flag=True, help="The form that every server reads right.")
@click.option("--as", "form", type=click.Choice(["cat", "gguf", "kohya"]), help="As of `hubctl pull`.")
@click.option("--keep", type=click.IntRange(0), default=1, show_default=True, help="Replaced versions that stay.")
@click.option("--watch", is_flag=True, help="Go on, looking again and again.")
@click.option("--every", type=click.FloatRange(0.1), metavar="SECONDS", help="With --watch: the pace; default: 30.")
@click.option("--listen", metavar="[HOST:]PORT", help="Watch, woken by the hub's webhook; HUBCTL_WEBHOOK_SECRET.")
@click.option("--run", "command", metavar="COMMAND", help="A shell command for each change, such as a server's reload.")
@with_hub
def sync_command(hub, names, folder, namespaces, watch, every, listen, command, keep, as_json, **wanted) -> int | None:
    """Make FOLDER hold the adapters that a tag points at, one sub-folder each.

    \b
    hubctl sync --tag production --namespace team adapters/
    hubctl sync demo/dates demo/sums@v2 adapters/

    NAMES are namespace/name, or with @ref to follow another ref. FOLDER/namespace/name is a link that is moved when the
    new version is whole, so a server never reads half an adapter. What no longer has the tag is removed, and nothing
    that sync has not made. Run it again after a cut: it goes on. Two runs take turns.

    --run gets HUBCTL_CHANGE (added, updated, mended, removed), HUBCTL_NAME, HUBCTL_VERSION and HUBCTL_FOLDER.
    """
    from hubctl.serving.listen import listening
    from hubctl.serving.sync import Wanted, sync
    from hubctl.serving.watch import again_and_again

    if not names and not namespaces and not wanted["base"]:
        raise click.UsageError("Say which adapters: names, --namespace or --base.")
    wanted["uniform"] = wanted["uniform"] or None
    chosen = Wanted(names=names, namespaces=namespaces, **wanted)
    goes_on = watch or listen is not None

    def turn(first: bool) -> dict[str, Any]:
        with transfer_bars(quiet=as_json or goes_on) as moved:
            done = sync(hub, folder, chosen, keep=keep, check=first, moved=moved)
        if command:
            done["failed"] += run_for(command, done["adapters"])
        if not goes_on or first or done["failed"] or any(row["change"] for row in done["adapters"]):
            show(done, as_json, one_line=goes_on)
        return done

    if not goes_on:
        return 1 if turn(True)["failed"] else 0
    wake = threading.Event()
    secret = os.environ.get("HUBCTL_WEBHOOK_SECRET", "")
    with listening(listen, secret, wake) if listen is not None else nullcontext() as address:
        if address:
            print(f"hubctl: waiting for the hub's events at {address}", file=sys.stderr, flush=True)
        pace = every or (SECONDS_BESIDE_EVENTS if address else SECONDS)
        again_and_again(
            lambda first: turn(first) and None, every=pace, wake=wake, said=lambda *told: say(*told, as_json)
        )
    return None


def show(done: dict[str, Any], as_json: bool, one_line: bool) -> None:
    """What a round did: JSON (one line a round while it goes on), or a line a change."""
    if as_json and one_line:
        print(json.dumps(done, ensure_ascii=False), flush=True)
        return
    rows = done["adapters"]
    lines = [f"{row['change']} {row['name']} {row['version'] or row['revision'][:10]}" for row in rows if row["change"]]
    held = sum(row["change"] != "removed" for row in rows)
    emit(done, as_json, "\n".join([*lines, f"{held} adapter{'' if held == 1 else 's'} in {done['folder']}"]))
    for words, kind in (("failed", "failed"), ("left out", "left_out")):
        for row in () if as_json else done[kind]:
            print(f"hubctl: {words}: {row['name']}: {row['message']}", file=sys.stderr)
    sys.stdout.flush()


def say(error: HubctlError, pause: float, as_json: bool) -> None:
    """Why a round failed, and when the next one is."""
    report_error(error, as_json)
    print(f"hubctl: trying again in {pause:.0f} seconds", file=sys.stderr, flush=True)


def run_for(command: str, rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Run the command for each change; those that failed, as rows of `failed`."""
    failed = []
    for row in rows:
        if not row["change"]:
            continue
        told = {"CHANGE": row["change"], "NAME": row["name"], "VERSION": row["version"] or "", "FOLDER": row["folder"]}
        environment = {**os.environ, **{f"HUBCTL_{key}": value for key, value in told.items()}}
        code = subprocess.run(command, shell=True, env=environment, stdout=STDERR).returncode
        if code:
            message = f"{command!r} ended with {code} for {row['change']} {row['name']}."
            failed.append({"name": row["name"], "code": "sync.run", "message": message})
    return failed
