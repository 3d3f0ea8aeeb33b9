"""The rows of `route_rules` for the Hugging Face Hub protocol (hub/hf). Its routes take tokens only."""

from functools import partial

from tests.hub.row import row as any_row

row = partial(any_row, protocol=True)

HERE = "api/<type:type>/<name:namespace>/<name:name>"
PULL = f"{HERE}/discussions/<number:number>"
MEMBERS = "401 404 200 200 200 200 200 401"
READERS = "401 404 200 200 200 403 200 401"
OF_ADMINS = "401 404 403 403 200 403 403 401"
ID = "<name:namespace>/<name:name>"
OF_WRITERS = "401 404 403 200 200 403 200 401"
NO_DATASET = "401 404 404 404 404 403 404 401"  # lab/secret is a model
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
    row(f"{HERE}/discussions", "GET", MEMBERS, limits="200 404 200 200"),
    row(f"{HERE}/discussions", "POST", READERS, json={"title": "One", "pullRequest": True}),
    row(PULL, "GET", MEMBERS, limits="200 404 200 200", to={"number": "1"}),
    row(f"{PULL}/title", "POST", OF_WRITERS, to={"number": "1"}, json={"title": "Better"}),
    row(f"{PULL}/status", "POST", OF_WRITERS, to={"number": "1"}, json={"status": "closed"}),
    row(f"{PULL}/merge", "POST", OF_WRITERS, to={"number": "1"}),
    *(
        row(f"{PULL}/{what}", "POST", "401 404 403 403 403 403 403 401", to={"number": "1", "rest": "1/edit"})
        for what in ("comment", "comment/<anypath:rest>")
    ),
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
    # A card is checked before there is a token.
    row("api/validate-yaml", "POST", ANYONE, limits="200 200 200 200", json={"content": "", "repoType": "model"}),
    *(
        row(f"api/{type}/{ID}/{rest}", "POST", statuses, to={"rev": "main"}, **sent)
        for rest, sent in (
            ("preupload/<anypath:rev>", {"json": {"files": []}}),
            ("commit/<anypath:rev>", {"raw": HEADER}),
            ("super-squash/<anypath:rev>", {"json": {"message": "one"}}),
            ("lfs-files/batch", {"json": {"deletions": {"sha": []}}}),
            ("lfs-files/duplicate", {"json": MINE}),
        )
        for type, statuses in (("models", OF_WRITERS), ("datasets", NO_DATASET))
    ),
    row(f"api/models/{ID}/lfs-files", "GET", OF_WRITERS),
    row(f"api/datasets/{ID}/lfs-files", "GET", NO_DATASET.replace("403", "404")),
    row(r"^api(?:/[\s\S]*)?$", "GET", "404 404 404 404 404 404 404 404", limits="404 404 404 404"),
]
