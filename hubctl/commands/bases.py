"""Base models."""

import json
from pathlib import Path

import click

from hubctl.errors import Refused
from hubctl.options.common import follow, need_token, with_hub
from hubctl.output import emit, size, table, transfer_bars

LARGEST_CONFIG = 1_000_000  # bytes
RELATIONS = ["finetune", "quantized", "pruned", "linearized", "merged"]


@click.group("base")
def base_command() -> None:
    """Register, list, rename, give away and delete base models."""


@base_command.command("add")
@click.argument("name", required=False)
@click.option(
    "--from",
    "origin",
    metavar="ORG/MODEL[@REV]",
    help="Take the config.json from a Hugging Face Hub. NAME is the same then, unless you give another.",
)
@click.option("--files", is_flag=True, help="With --from: bring all files, so that this hub serves the base itself.")
@click.option("--endpoint", metavar="URL", help="With --from: the source; default: HF_ENDPOINT, then huggingface.co.")
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), metavar="PATH",
    help="The model's config.json, or the folder that holds it; without it, that of the model which a worker holds.",
)  # fmt: skip
@click.option("--revision", default="main", show_default=True)
@click.option("--derived-from", metavar="BASE", help="The base it was made from.")
@click.option("--relation", type=click.Choice(RELATIONS), help="How it was made from that base.")
@click.option("--alias", "aliases", multiple=True, help="Another name tools write for it. Repeatable.")
@click.option("--license", "license_", help="Licence id, such as apache-2.0.")
@click.option("--gguf", metavar="PACKAGE", help="Workers take the weights from the GGUF in this Python package.")
@click.option("--weights", metavar="FOLDER", help="Workers take the weights from this folder below their HUB_BASES.")
@click.option("--wait/--no-wait", help="Wait until the shapes are read.")
@with_hub
def add(
    hub, name, origin, files, endpoint, config_path, revision, derived_from, relation, aliases, license_, gguf, weights,
    wait, as_json,
) -> int:  # fmt: skip
    """Register the base NAME (org/name). Its shapes are read from config.json by a worker; no weights are sent.

    `hubctl base held` lists the models for which no --config is needed.
    """
    need_token(hub)
    if gguf and weights:
        raise click.UsageError("give --gguf or --weights, not both.")
    if not name and not origin:
        raise click.UsageError("give NAME, or --from ORG/MODEL.")
    if (files or endpoint) and not origin:
        raise click.UsageError("--files and --endpoint go with --from.")
    brought = _from(hub, origin, endpoint) if origin else None
    if brought:
        name, license_ = name or brought.found.id, license_ or brought.found.licence
        config_path = config_path or brought.config()
    source = {"kind": "gguf", "package": gguf} if gguf else {"kind": "folder", "path": weights} if weights else {}
    made = hub.add_base(
        name,
        read_config(config_path) if config_path else None,
        revision=revision,
        derived_from=derived_from,
        relation=relation,
        aliases=list(aliases),
        license=license_,
        source=source,
    )
    job, name = made["job"], made["base"]["name"]
    if brought and files:
        with transfer_bars(as_json) as moved:
            made["files"] = hub.push_base(brought.folder(), name, revision=made["base"]["revision"], moved=moved)
    if job and wait:
        return follow(hub, hub.job(job), True, as_json)
    reading = f"; job {job} reads its shapes" if job else ""
    emit(made, as_json, f"base {name} registered{reading}")
    return 0


def _from(hub, origin, endpoint):
    """The model of another hub that `--from` names."""
    from hubctl.importing.bring import Brought
    from hubctl.importing.source import Source

    path, _, revision = origin.partition("@")
    source = Source(endpoint)
    if source.endpoint == hub.url:
        raise Refused(f"the source {source.endpoint} is this very hub: give --endpoint https://huggingface.co.")
    return Brought(source, source.model(path, revision or None))


def read_config(path: Path) -> dict:
    """The config.json at `path` or in the folder `path`."""
    file = path / "config.json" if path.is_dir() else path
    if (file.is_file() and file.stat().st_size > LARGEST_CONFIG) or file.suffix == ".gguf":
        raise Refused(
            f"{file} is no config.json: give the file of that name beside the model's weights. A GGUF needs none: put "
            "it where a worker looks, as HUB_BASES/ORG/NAME.gguf on its machine, and run "
            "hubctl base add ORG/NAME --wait."
        )
    try:
        config = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        said = f"{path} holds no config.json" if path.is_dir() else f"there is no file {str(path)!r} here"
        raise Refused(
            f"{said}. Give the config.json of the base model, the file beside its weights. `hubctl base held` lists "
            "models that need none, because a worker holds them."
        ) from None
    except ValueError as error:
        raise Refused(f"{file} {_what_is_no_json(file) or f'is not JSON: {error}'}.") from None
    if not isinstance(config, dict):
        raise Refused(f"{file} does not hold a JSON object; give the model's config.json.")
    return config


def _what_is_no_json(file: Path) -> str:
    """What people have in the place of a config.json; "" where nothing is known of it."""
    start = file.read_bytes()[:200].lstrip()
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself. In the clone, run `git lfs pull` and try again"
    if start[:1] == b"<":
        return "is a web page or XML, saved in the place of the file. Download it again"
    if start.startswith(b"\xef\xbb\xbf"):
        return "begins with a byte order mark, which JSON has none of. Save it as UTF-8 without BOM"
    return "" if start else "is empty"


@base_command.command("push")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--revision", default="main", show_default=True)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Where FOLDER has no config.json.")
@click.option("--license", "license_", default="", help="Licence id, where the base is not registered yet.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Files to leave out. Repeatable.")
@with_hub
def push(hub, folder, name, revision, config_path, license_, exclude, as_json) -> None:
    """Push the files of a base, weights and tokenizer, from FOLDER (or one .gguf), so that the hub serves them.

    A base that is not registered is registered by its config.json. What the base had and FOLDER has not is gone then.
    """
    need_token(hub)
    at = config_path or (folder if (folder / "config.json").is_file() else None)
    with transfer_bars(as_json) as moved:
        done = hub.push_base(
            folder,
            name,
            revision=revision,
            config=read_config(at) if at else None,
            license=license_,
            exclude=list(exclude),
            moved=moved,
            said=lambda line: click.echo(line, err=True),
        )
    emit(done, as_json, f"{done['base']}: {done['files']} files, {size(done['size'])}, commit {done['commit'][:12]}")


@base_command.command("list")
@with_hub
def list_(hub, as_json) -> None:
    """List the bases."""
    found = hub.bases()
    if as_json:
        return emit(found, True)
    rows = [
        [b["name"], b["revision"], _parameters(b.get("parameters")), _derived(b), b.get("owner"), b.get("adapters")]
        for b in found
    ]
    table(
        rows,
        ["base", "revision", "parameters", "derived from", "owner", "adapters"],
        "No bases yet. Register one: hubctl base add ORG/NAME --config config.json --wait; "
        "`hubctl base held` lists those that need no --config.",
    )


@base_command.command("held")
@with_hub
def held(hub, as_json) -> None:
    """List the models that workers hold and nobody has registered: `hubctl base add NAME` registers one."""
    need_token(hub)
    found = hub.held_bases()
    if as_json:
        return emit(found, True)
    rows = [[b["name"], b["revision"], b["config"].get("model_type"), b["where"]] for b in found]
    table(
        rows,
        ["model", "revision", "type", "where"],
        "No running worker holds a model that is not registered. They look in HUB_BASES/<org>/<name> on their machine.",
    )


@base_command.command("transfer")
@click.argument("name")
@click.argument("owner")
@with_hub
def transfer(hub, name, owner, as_json) -> None:
    """Give the base NAME (org/name, or org/name@revision) to the account OWNER."""
    need_token(hub)
    changed = hub.change_base(name, owner=owner)
    emit(changed, as_json, f"{name} belongs to {changed['owner']} now")


@base_command.command("alias")
@click.argument("name")
@click.option("--add", "added", multiple=True, help="Another name tools write for it. Repeatable.")
@click.option("--drop", "dropped", multiple=True, help="A name to take off it. Repeatable.")
@with_hub
def alias(hub, name, added, dropped, as_json) -> None:
    """Give the base NAME other names, or take some off it."""
    need_token(hub)
    if not added and not dropped:
        raise click.UsageError("give --add or --drop.")
    changed = hub.change_base(name, add_aliases=list(added), drop_aliases=list(dropped))
    emit(changed, as_json, f"{name} is also called: {', '.join(changed['aliases']) or 'nothing else'}")


@base_command.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_hub
def delete(hub, name, yes, as_json) -> None:
    """Delete the base NAME (org/name, or org/name@revision). Refused as long as anything uses it."""
    need_token(hub)
    if not yes:
        click.confirm(f"Delete the base {name}?", abort=True, err=True)
    hub.delete_base(name)
    emit({"deleted": name}, as_json, f"{name} deleted")


def _parameters(count: int | None) -> str:
    return f"{count / 1e6:.1f} M" if count else ""


def _derived(base: dict) -> str:
    parent = base.get("derived_from")
    return f"{parent} ({base['relation']})" if parent and base.get("relation") else parent or ""
