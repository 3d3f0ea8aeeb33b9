"""Tokens for programs."""

import click

from hubctl.options.common import need_token, with_hub
from hubctl.output import emit, table


@click.group("token")
def token_command() -> None:
    """Make, list and revoke tokens."""


@token_command.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(["read", "write", "admin"]), help="Repeatable.")
@click.option("--days", default=90, show_default=True, help="Days until it expires.")
@with_hub
def create(hub, name, scopes, days, as_json) -> None:
    """Make a token and show its secret, this once."""
    need_token(hub)
    made = hub.create_token(name, scopes or ("read",), days)
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
    rows = [[t["id"], t["name"], f"{t['prefix']}…", " ".join(t["scopes"]), _state(t), t["last_used_at"]] for t in found]
    table(rows, ["id", "name", "token", "scopes", "state", "last used"], "No tokens.")


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
