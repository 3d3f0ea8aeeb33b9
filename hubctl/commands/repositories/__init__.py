"""Searching and showing repositories, and what is done with whole ones."""

from collections.abc import Callable
from typing import Any

import click

from hubctl.options.common import need_token, with_hub
from hubctl.output import describe, emit, size, table
from hubctl.requests import split

FILTERS = [
    ("--kind", click.Choice(["adapter", "generator", "dataset"])),
    ("--base", str),
    ("--peft-type", str),
    ("--rank", int),
    ("--license", str),
    ("--origin", click.Choice(["uploaded", "merged", "transferred", "generated", "assembled", "trained"])),
    ("--tag", str),
    ("--owner", str),
    ("--sort", click.Choice(["relevance", "updated", "created", "downloads", "name"])),
]


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The facets as options."""
    command = click.option("--limit", default=50, show_default=True)(command)
    for name, kind in reversed(FILTERS):
        command = click.option(name, type=kind)(command)
    return command


def show_repositories(found: list[dict], as_json: bool) -> None:
    """One line each."""
    if as_json:
        return emit(found, True)
    rows = [
        [r["path"], r["latest"], r["kind"], r["base"], r["rank"], size(r["size"]), r["updated_at"][:10], _seen(r)]
        for r in found
    ]
    table(rows, ["name", "version", "kind", "base", "rank", "size", "updated", ""], "Nothing found.")


def _seen(repository: dict) -> str:
    return "private" if repository["visibility"] == "private" else ""


@click.command("list")
@filter_options
@with_hub
def list_command(hub, as_json, **filters) -> None:
    """List repositories, narrowed by facets."""
    show_repositories(hub.repositories(**filters), as_json)


@click.command("search")
@click.argument("words", nargs=-1, required=True)
@filter_options
@with_hub
def search_command(hub, words, as_json, **filters) -> None:
    """Search names, descriptions and bases for all WORDS."""
    show_repositories(hub.repositories(search=" ".join(words), **filters), as_json)


@click.command("info")
@click.argument("name")
@with_hub
def info_command(hub, name, as_json) -> None:
    """Show NAME (namespace/name), or one version of it (namespace/name@ref)."""
    path, ref = split(name)
    repository = hub.repository(path)
    version = hub.version(name) if ref or repository["latest"] else None
    if as_json:
        return emit({"repository": repository, "version": version}, True)
    print(describe(_repository_lines(repository)))
    if version is None:
        print("\nnothing valid has been pushed yet")
        return None
    print("\n" + describe(_version_lines(version)))
    rows = [
        [e["dataset"], e["split"], e["rows"], " ".join(f"{k} {_number(v)}" for k, v in e["metrics"].items())]
        for e in version["evaluations"]
    ]
    if rows:
        print()
        table(rows, ["measured on", "split", "rows", "metrics"], "")
    return None


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _repository_lines(r: dict) -> list[tuple[str, Any]]:
    return [
        ("name", r["path"]),
        ("kind", r["kind"]),
        ("visibility", r["visibility"]),
        ("description", r["description"]),
        ("licence", r["license"]),
        ("tags", ", ".join(r["tags"])),
        ("latest", r["latest"]),
        ("downloads", r["downloads"]),
        ("deleted", r["deleted_at"]),
    ]


def _version_lines(v: dict) -> list[tuple[str, Any]]:
    facts = v["facts"] or {}
    ranks = facts.get("ranks") or []
    splits = ", ".join(f"{name} ({rows} rows)" for name, rows in (facts.get("splits") or {}).items())
    return [
        ("version", f"{v['repository']}@{v['version']}"),
        ("revision", v["revision"]),
        ("made by", " ".join(filter(None, [v["created_by"], v["created_at"][:16]]))),
        ("origin", " ".join(filter(None, [v["origin"], (v["recipe"] or {}).get("kind")]))),
        ("base", v["base"]),
        ("type", facts.get("peft_type")),
        ("rank", str(ranks[0]) if len(set(ranks)) == 1 else "–".join(map(str, ranks))),
        ("targets", ", ".join(facts.get("target_modules") or [])),
        ("parameters", facts.get("parameters")),
        ("splits", splits),
        ("parents", ", ".join(_relative(parent) for parent in v["parents"])),
        ("children", ", ".join(_relative(child) for child in v["children"])),
        *_server_lines(v),
        ("warnings", " ".join(facts.get("warnings") or [])),
    ]


def _server_lines(v: dict) -> list[tuple[str, str]]:
    """Which servers read the files as they are, and what the others make of them."""
    rows = v.get("servers") or []
    right = [row["label"] for row in rows if row["answer"] == "right"]
    if rows and not right and len({row["why"] for row in rows}) == 1 and rows[0]["answer"] == "refuses":
        return [("served by", f"none of {', '.join(row['label'] for row in rows)}: {rows[0]['why']}")]
    lines = [("right on", ", ".join(right))] if right else []
    for row in rows:
        if row["answer"] != "right":
            do = f" Right with `hubctl pull {v['repository']}@{v['version']} --uniform`." if row["uniform"] else ""
            lines.append((f"{row['answer']} on", f"{row['label']}: {row['why']}{do}"))
    return lines


def _relative(node: dict) -> str:
    return "(hidden)" if node["hidden"] else node["name"]


class Tags(click.Group):
    """`tag NAME@REF TAG` is `tag set NAME@REF TAG`: names of repositories hold a slash, those of commands don't."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["set", *args]
        return super().parse_args(ctx, args)


@click.group("tag", cls=Tags)
def tag_command() -> None:
    """Point tags at versions, and protect them: hubctl tag NAME@REF TAG."""


@tag_command.command("set")
@click.argument("name")
@click.argument("tag")
@click.option("--delete", is_flag=True, help="Delete the tag; the revision it points at stays.")
@with_hub
def set_command(hub, name, tag, delete, as_json) -> None:
    """Point TAG at NAME (namespace/name@ref, such as demo/sentiment@v2). Tags move, versions never change."""
    need_token(hub)
    path, ref = split(name)
    if delete:
        hub.delete_tag(path, tag)
        emit({"repository": path, "tag": tag, "deleted": True}, as_json, f"{path}: tag {tag} deleted")
    else:
        emit(hub.set_tag(name, tag), as_json, f"{path}@{tag} now points at {ref or 'latest'}")


@tag_command.command("protect")
@click.argument("place")
@click.argument("pattern", required=False)
@with_hub
def protect_command(hub, place, pattern, as_json) -> None:
    """Let only admins create, move and delete refs of this name or PATTERN (release-*); without one, list the rules.

    PLACE is a repository (namespace/name), or a namespace for all its repositories.
    """
    if pattern:
        need_token(hub)
        emit(hub.protections(place).add(pattern), as_json, f"{place}: only admins move {pattern} now")
        return
    rules = hub.protections(place).rules()
    if as_json:
        emit(rules, True)
        return
    rows = [[r["pattern"], r["repository"] or f"all of {r['namespace']}", r["created_by"]] for r in rules]
    table(rows, ["pattern", "in", "by"], "Nothing is protected.")


@tag_command.command("unprotect")
@click.argument("place")
@click.argument("pattern")
@with_hub
def unprotect_command(hub, place, pattern, as_json) -> None:
    """Take the rule PATTERN of PLACE away."""
    need_token(hub)
    hub.protections(place).remove(pattern)
    emit({"place": place, "pattern": pattern, "protected": False}, as_json, f"{place}: {pattern} is not protected now")


@tag_command.command("history")
@click.argument("name")
@click.argument("ref")
@click.option("--limit", default=50, show_default=True)
@with_hub
def history_command(hub, name, ref, limit, as_json) -> None:
    """Show who moved the branch or tag REF of NAME, from where to where, newest first."""
    moves = hub.protections(name).history(ref, limit)
    if as_json:
        emit(moves, True)
        return
    rows = [[m["created_at"][:19], m["actor"], _place(m, "before"), _place(m, "after")] for m in moves]
    table(rows, ["when", "by", "from", "to"], f"Nothing is on record for {ref}.")


def _place(move: dict, side: str) -> str:
    return " ".join(filter(None, [move[f"{side}_version"], move[side][:10]])) or "–"


@click.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Don't ask.")
@with_hub
def delete_command(hub, name, yes, as_json) -> None:
    """Move NAME to the trash. `hubctl restore` brings it back."""
    need_token(hub)
    path = hub.repository(name)["path"]
    if not yes:
        click.confirm(f"Move {path} to the trash?", abort=True, err=True)
    hub.delete_repository(path)
    emit(
        {"repository": path, "deleted": True}, as_json, f"{path} is in the trash; hubctl restore {path} brings it back"
    )


@click.command("restore")
@click.argument("name")
@with_hub
def restore_command(hub, name, as_json) -> None:
    """Bring NAME back from the trash."""
    need_token(hub)
    back = hub.restore_repository(name)
    emit(back, as_json, f"{back['path']} is back")
