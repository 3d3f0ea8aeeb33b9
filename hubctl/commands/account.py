"""Signing in and out."""

import click

from hubctl import config
from hubctl.commands.tokens import limit_of
from hubctl.errors import Forbidden, Refused
from hubctl.options.common import json_option, need_token, with_hub
from hubctl.output import describe, emit, size, table


@click.command("login")
@click.argument("url", required=False)
@click.option("--username", help="Asked for if it is left out.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--code", default="", help="The one-time code of your second factor; asked for if it is left out.")
@click.option("--token", help="Use this token instead of a name and password; - reads it from standard input.")
@click.option("--days", default=90, show_default=True, help="Days until the new token expires.")
@json_option
def login_command(url, username, password_stdin, code, token, days, as_json) -> None:
    """Sign in to the hub at URL and remember the token in the config folder, readable by its owner only."""
    from hubctl.client import Hub

    address, _ = config.current(url)
    if token:
        secret = click.get_text_stream("stdin").readline().strip() if token == "-" else token
    else:
        username = username or click.prompt("Username", err=True)
        password = (
            click.get_text_stream("stdin").readline().rstrip("\r\n")
            if password_stdin
            else click.prompt("Password", hide_input=True, err=True)
        )
        with Hub(address) as hub:
            secret = _secret(hub, username, password, code, days, ask=not password_stdin)
    if not secret.isascii() or not secret.isprintable() or " " in secret or not secret:
        raise Refused("that is not a token: a token is one word, as the hub's page showed it.")
    with Hub(address, secret) as hub:
        me = hub.me()
    path = config.save(address, secret, me["username"])
    emit(
        {"url": address, "username": me["username"], "config": str(path)},
        as_json,
        f"signed in to {address} as {me['username']}",
    )


def _secret(hub, username: str, password: str, code: str, days: int, *, ask: bool) -> str:
    """A new token; the code of a second factor is asked for when the hub wants it."""
    try:
        return hub.sign_in(username, password, code=code, days=days)
    except Forbidden as refusal:
        if refusal.code != "sign_in.code_needed":
            raise
        if not ask:
            raise Forbidden("This account has a second factor: give its one-time code by --code.") from None
    return hub.sign_in(username, password, code=click.prompt("One-time code", err=True), days=days)


@click.command("logout")
@json_option
def logout_command(as_json) -> None:
    """Forget the remembered token. It stays valid on the hub until it expires: `hubctl token revoke` ends it."""
    config.forget()
    emit({"signed_in": False}, as_json, "signed out")


@click.command("whoami")
@with_hub
def whoami_command(hub, as_json) -> None:
    """Show the user, their namespaces and roles."""
    need_token(hub)
    me = hub.me()
    token = me.get("token") or {}
    places = [f"{place['name']} ({place['role']})" for place in me.get("namespaces", [])]
    text = describe(
        [
            ("user", me["username"]),
            ("hub", hub.url),
            ("namespaces", ", ".join(places)),
            ("token", f"{token.get('name')} ({', '.join(token.get('scopes', []))})" if token else ""),
            ("limited to", limit_of(token)),
            ("expires", token.get("expires_at")),
        ]
    )
    emit(me, as_json, text)


@click.command("usage")
@click.argument("namespace", required=False)
@with_hub
def usage_command(hub, namespace, as_json) -> None:
    """Show what NAMESPACE has used of its limits; without a name your own and those of your namespace."""
    need_token(hub)
    found = [hub.usage(namespace)] if namespace else [hub.usage(hub.me()["username"]), hub.usage()]
    rows = [row for one in found for row in one["limits"]]
    show = {"bytes": size, "count": str}
    cells = [
        [
            row["label"],
            "" if row["used"] is None else show[row["unit"]](row["used"]),
            show[row["unit"]](row["limit"]) if row["limit"] else "no limit",
        ]
        for row in rows
    ]
    if as_json:
        emit({"limits": rows}, as_json, "")
        return
    table(cells, ["what", "used", "limit"], "no limits")
