"""The rows of `route_rules` for the Hugging Face Hub protocol (hub/hf). Its routes take tokens only."""

from functools import partial

from tests.hub.row import row as any_row

row = partial(any_row, protocol=True)

HERE = "api/<type:type>/<name:namespace>/<name:name>"
OF_ADMINS = "401 404 403 403 200 403 403 401"
ANYONE = "200 200 200 200 200 200 200 200"

PROTOCOL_ROWS = [
    row("api/whoami-v2", "GET", "401 200 200 200 200 200 200 401", limits="200 200 200 200"),
    # Clients ask and tell these before they have a token; what comes with them is not looked at.
    row("api/agent-harnesses", "GET", ANYONE, limits="200 200 200 200"),
    row("api/telemetry/<anypath:rest>", "HEAD", ANYONE, limits="200 200 200 200", to={"rest": "x"}),
    row("api/telemetry/<anypath:rest>", "POST", ANYONE, limits="200 200 200 200", to={"rest": "x"}),
    row("v1/telemetry", "HEAD", ANYONE, limits="200 200 200 200"),
    row("v1/telemetry", "POST", ANYONE, limits="200 200 200 200", json={}),
    # Members may have the files anyway, so that asking is a conflict.
    row("<place:namespace>/<name:name>/ask-access", "POST", "401 404 409 409 409 409 409 401"),
    *(
        row(f"{HERE}/user-access-request/{what}", method, OF_ADMINS, to={"state": "pending"}, json=json)
        for what, method, json in (
            ("<name:state>", "GET", None),
            ("handle", "POST", {"user": "stranger", "status": "accepted"}),
            ("grant", "POST", {"user": "stranger"}),
        )
    ),
    row(r"^api(?:/[\s\S]*)?$", "GET", "404 404 404 404 404 404 404 404", limits="404 404 404 404"),
]
