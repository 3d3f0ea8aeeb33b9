"""The rows of `route_rules` for the Hugging Face Hub protocol (hub/hf). Its routes take tokens only."""

from functools import partial

from tests.hub.row import row as any_row

row = partial(any_row, protocol=True)

HERE = "api/<type:type>/<name:namespace>/<name:name>"
OF_WRITERS = "401 404 403 200 200 403 200 401"
HEADER = b'{"key": "header", "value": {"summary": "nothing"}}\n'
MINE = {"target": {"type": "model", "name": "lab/secret"}, "files": []}
ANYONE = "200 200 200 200 200 200 200 200"

PROTOCOL_ROWS = [
    row("api/whoami-v2", "GET", "401 200 200 200 200 200 200 401", limits="200 200 200 200"),
    # Clients ask and tell these before they have a token; what comes with them is not looked at.
    row("api/agent-harnesses", "GET", ANYONE, limits="200 200 200 200"),
    row("api/telemetry/<anypath:rest>", "HEAD", ANYONE, limits="200 200 200 200", to={"rest": "x"}),
    row("api/telemetry/<anypath:rest>", "POST", ANYONE, limits="200 200 200 200", to={"rest": "x"}),
    row("v1/telemetry", "HEAD", ANYONE, limits="200 200 200 200"),
    row("v1/telemetry", "POST", ANYONE, limits="200 200 200 200", json={}),
    # A card is checked before there is a token.
    row("api/validate-yaml", "POST", ANYONE, limits="200 200 200 200", json={"content": "", "repoType": "model"}),
    *(
        row(f"{HERE}/{rest}", "POST", OF_WRITERS, to={"type": "models", "rev": "main"}, **sent)
        for rest, sent in (
            ("preupload/<anypath:rev>", {"json": {"files": []}}),
            ("commit/<anypath:rev>", {"raw": HEADER}),
            ("super-squash/<anypath:rev>", {"json": {"message": "one"}}),
            ("lfs-files/batch", {"json": {"deletions": {"sha": []}}}),
            ("lfs-files/duplicate", {"json": MINE}),
        )
    ),
    row(f"{HERE}/lfs-files", "GET", OF_WRITERS, to={"type": "models"}),
    row(r"^api(?:/[\s\S]*)?$", "GET", "404 404 404 404 404 404 404 404", limits="404 404 404 404"),
]
