"""One row of the table of routes, see `route_rules`."""

import re
from dataclasses import dataclass, field

REPOSITORY = re.compile(r"<(?:name|place):namespace>/<name:name>")
"""The part of a route that names a repository."""

WHO = ("anonymous", "stranger", "reader", "writer", "admin", "read_token", "write_token", "expired_token")
LIMITED = ("here_token", "other_token", "namespace_token", "download_token")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One route and method, what is sent, the statuses by column, and the site administrator's."""

    route: str
    method: str
    statuses: tuple[str, ...]
    limits: tuple[str, ...] = ()
    to: dict = field(default_factory=dict)
    json: object = None
    form: dict | None = None
    raw: bytes | None = None
    headers: dict = field(default_factory=dict)
    query: str = ""
    site: str = ""
    protocol: bool = False
    """Of hub/hf: by token only, and who has not signed in gets 401 where a stranger gets 404."""

    def __str__(self) -> str:
        return f"{self.method} /{self.route}"


def row(route: str, method: str, statuses: str, limits: str = "", **more: object) -> Row:
    columns = tuple(statuses.split())
    named = REPOSITORY.search(route) is not None and len(columns) == 8
    inside = columns[4] if named else "403"
    outside = columns[1] if named else "403"
    told = tuple(limits.split()) or (inside, outside, inside, "403")
    return Row(route=route, method=method, statuses=columns, limits=told if len(columns) == 8 else (), **more)
