"""From a Hugging Face Hub to this one: adapters by id, of an organisation, of a base; the plan is shown first."""

import sys
from collections.abc import Sequence

import click

from hubctl.errors import Refused
from hubctl.importing.plan import COMES, REFUSED, TAKEN, Row
from hubctl.options.common import need_token, with_hub
from hubctl.output import emit, size, table


@click.command("import")
@click.argument("name", required=False)
@click.option("--base", metavar="ORG/MODEL", help="All adapters of this base that the source has.")
@click.option("--to", "namespace", metavar="NAMESPACE", help="Where they go; default: your own namespace.")
@click.option("--as", "target", metavar="NAME", help="Of one: the name it gets, namespace/name.")
@click.option("--endpoint", metavar="URL", help="The source; default: HF_ENDPOINT, then https://huggingface.co.")
@click.option("--limit", default=100, show_default=True, help="At most so many of an organisation or a base.")
@click.option("--private", is_flag=True, help="Make all private here; what is private or gated there always is.")
@click.option("--yes", is_flag=True, help="Bring them, without asking.")
@with_hub
def import_command(hub, name, base, namespace, target, endpoint, limit, private, yes, as_json) -> int:
    """Bring adapters from a Hugging Face Hub: NAME is org/name[@rev], or an organisation for all of its adapters.

    First the plan is shown: what comes, how large it is, under which licence, where it goes. An import that was cut is
    taken up by the same command, and what is here already stays. Each gets a provenance.json: source, commit, digests.

    HUBCTL_SOURCE_TOKEN is sent to the source. Needs huggingface_hub: pip install huggingface_hub.
    """
    from hubctl.importing.source import Source

    need_token(hub)
    if bool(name) == bool(base):
        raise click.UsageError("give NAME or --base, and not both.")
    if target and (base or "/" not in (name or "")):
        raise click.UsageError("--as is for one adapter; --to says where several go.")
    source = _other_than(hub, Source(endpoint))
    rows = _planned(hub, source, name, base, namespace, target, limit)
    coming = [row for row in rows if row.state in COMES]
    if not as_json or not yes:
        _show(rows, as_json and not yes)
    if not coming or not _agreed(coming, yes, as_json):
        if yes and as_json:
            emit([row.shown() for row in rows], True)
        return 1 if any(row.state in (REFUSED, TAKEN) for row in rows) and not coming else 0
    return _bring(hub, source, rows, private, as_json)


def _other_than(hub, source):
    if source.endpoint == hub.url:
        raise Refused(f"the source {source.endpoint} is this very hub: give --endpoint https://huggingface.co.")
    return source


def _planned(hub, source, name, base, namespace, target, limit) -> list[Row]:
    from itertools import islice

    from hubctl.importing.plan import plan, plan_one

    namespace = namespace or (target or "").rpartition("/")[0] or hub.me()["username"]
    if name and "/" in name:
        path, _, revision = name.partition("@")
        target = target or f"{namespace}/{path.rpartition('/')[2]}"
        return [plan_one(hub, source, path, target, revision or None)]
    ids = list(islice(source.adapters(author=name, base=base), limit))
    if not ids:
        raise Refused(f"{source.endpoint} shows no adapters of {name or base}.")
    return plan(hub, source, ids, namespace=namespace)


def _show(rows: Sequence[Row], as_json: bool) -> None:
    if as_json:
        return emit([row.shown() for row in rows], True)
    shown = [
        [
            row.id,
            row.found and size(row.found.size),
            row.found and (row.found.licence or "none said"),
            row.target,
            "private" if row.found and row.found.private else "",
            row.state,
            row.note,
        ]
        for row in rows
    ]
    table(shown, ["what", "size", "licence", "to", "", "state", ""], "Nothing to import.")


def _agreed(coming: Sequence[Row], yes: bool, as_json: bool) -> bool:
    if yes:
        return True
    if as_json or not sys.stdin.isatty():
        print("Nothing was brought yet: run the same command with --yes.", file=sys.stderr)
        return False
    total = sum(row.found.size for row in coming if row.found)
    return click.confirm(f"Bring {len(coming)} ({size(total)})?", err=True)


def _bring(hub, source, rows: Sequence[Row], private: bool, as_json: bool) -> int:
    from hubctl.importing.bring import bring

    done = []
    for row in rows:
        done.append(bring(hub, source, row, private=private))
        if not as_json:
            said = done[-1]
            version = f"@{said['version']}" if said.get("version") else ""
            note = f": {said['note']}" if said["note"] else ""
            click.echo(f"{said['id']} -> {said['target']}{version} {said['state']}{note}")
    if as_json:
        emit(done, True)
    return 1 if any(row["state"] in (REFUSED, TAKEN) for row in done) else 0
