"""Tokens for programs."""

import click

from hubctl.options.common import need_token, with_hub
from hubctl.output import emit, table

SCOPES = ["download", "read", "write", "admin"]


@click.group("token")
def token_command() -> None:
    """Make, list and revoke tokens."""


@token_command.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="Repeatable.")
@click.option("--download", is_flag=True, help="Only to fetch files; no other scope goes with it.")
@click.option("--namespace", help="Limit it to this namespace.")
@click.option("--repository", help="Limit it to this repository, namespace/name.")
@click.option("--days", default=90, show_default=True, help="Days until it expires.")
@with_hub
def create(hub, name, scopes, download, namespace, repository, days, as_json) -> None:
    """Make a token and show its secret, this once. Outside its limit a token sees only what is public."""
    need_token(hub)
    if download and scopes:
        raise click.UsageError("--download makes a token that only fetches files; leave out --scope.")
    if namespace and repository:
        raise click.UsageError("Give --namespace or --repository, not both.")
    given = ("download",) if download else scopes or ("read",)
    made = hub.create_token(name, given, days, namespace=namespace, repository=repository)
    if not as_json:
        click.echo("Keep it safe; it is not shown again:", err=True)
    emit(made, as_json, made["token"])


@token_command.command("list")
@with_hub
def list_(hub, as_json) -> None:
    """List your tokens."""
    need_token(hub)
    found = hub.tokens()
    if as_json:
        return emit(found, True)
    rows = [[t["id"], t["name"], f"{t['prefix']}…", " ".join(t["scopes"]), limit_of(t), _state(t)] for t in found]
    rows = [[*row, t["last_used_at"]] for row, t in zip(rows, found, strict=True)]
    table(rows, ["id", "name", "token", "scopes", "limited to", "state", "last used"], "No tokens.")


def limit_of(token: dict) -> str:
    """What a token is limited to; "" without a limit."""
    return token.get("repository") or token.get("namespace") or ""


def _state(token: dict) -> str:
    return "revoked" if token.get("revoked_at") else f"until {str(token.get('expires_at') or 'revoked')[:10]}"


@token_command.command("revoke")
@click.argument("token_id", type=int)
@with_hub
def revoke(hub, token_id, as_json) -> None:
    """End the token TOKEN_ID at once."""
    need_token(hub)
    hub.revoke_token(token_id)
    emit({"id": token_id, "revoked": True}, as_json, f"token {token_id} revoked")
