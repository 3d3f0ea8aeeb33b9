"""The rows of `route_rules` for the Hugging Face Hub protocol (hub/hf). Its routes take tokens only."""

from functools import partial

from tests.hub.row import row as any_row

row = partial(any_row, protocol=True)

HERE = "api/<type:type>/<name:namespace>/<name:name>"
PULL = f"{HERE}/discussions/<number:number>"
READERS = "401 404 200 200 200 403 200 401"
HEADER = b'{"key": "header", "value": {"summary": "nothing"}}\n'
MINE = {"target": {"type": "model", "name": "lab/secret"}, "files": []}
ANYONE = "200 200 200 200 200 200 200 200"
ANYONE_WITH = "200 200 200 200 200 200 200 401"
SIGNED_IN = "401 200 200 200 200 200 200 401"
PAGE = "404 404 200 200 200 200 200 401"
SEEN = "401 404 200 200 200 200 200 401"
WRITERS = "401 404 403 200 200 403 200 401"
ADMINS = "401 404 403 403 200 403 403 401"
NOWHERE = "401 404 404 404 404 404 404 401"
HIDDEN = "404 404 404 404"
DOWNLOADS = "200 404 200 200"
WRITING = ("GET", "POST", "PUT", "DELETE")
UNKNOWN = {"rest": "no-such-id"}
NEW = {"name": "new", "organization": "lab"}
SECRET = {"name": "secret", "organization": "lab"}
MOVE = {"fromRepo": "lab/secret", "toRepo": "lab/renamed", "type": "model"}
READING = {
    "": {},
    "/revision/<anypath:rest>": {"rest": "v1"},
    "/tree/<anypath:rest>": {"rest": "main"},
    "/refs": {},
    "/commits/<anypath:rest>": {"rest": "main"},
    "/compare/<anypath:rest>": {"rest": "main..v1"},
    "/auth-check": {},
}
"""What serves a download: a token for downloads alone may ask it."""
NOBODY = {
    status: {"statuses": " ".join([status] * 8), "limits": " ".join([status] * 4)} for status in ("401", "403", "404")
}
BATCH = {"operation": "upload", "transfers": ["basic"], "objects": []}
LFS_FILE = {"oid": "0" * 64, "size": 1}
SEEN_AND_MISSING = "401 404 404 404 404 403 404 401"
GIT = "<name:namespace>/<name:name>.git/info/lfs"
STORE, IN_STORE = "xet/<uuid:store>", {"store": "00000000-0000-0000-0000-000000000000", "hash": "0" * 64}

PROTOCOL_ROWS = [
    row("api/whoami-v2", "GET", "401 200 200 200 200 200 200 401", limits="200 200 200 200"),
    # Clients ask and tell these before they have a token; what comes with them is not looked at.
    row("api/agent-harnesses", "GET", ANYONE, limits="200 200 200 200"),
    row("api/telemetry/<anypath:rest>", "HEAD", ANYONE, limits="200 200 200 200", to={"rest": "x"}),
    row("api/telemetry/<anypath:rest>", "POST", ANYONE, limits="200 200 200 200", to={"rest": "x"}),
    row("v1/telemetry", "HEAD", ANYONE, limits="200 200 200 200"),
    row("v1/telemetry", "POST", ANYONE, limits="200 200 200 200", json={}),
    row(f"{HERE}/discussions", "GET", SEEN, DOWNLOADS),
    row(f"{HERE}/discussions", "POST", READERS, json={"title": "One", "pullRequest": True}),
    row(PULL, "GET", SEEN, DOWNLOADS, to={"number": "1"}),
    row(f"{PULL}/title", "POST", WRITERS, to={"number": "1"}, json={"title": "Better"}),
    row(f"{PULL}/status", "POST", WRITERS, to={"number": "1"}, json={"status": "closed"}),
    row(f"{PULL}/merge", "POST", WRITERS, to={"number": "1"}),
    *(
        row(f"{PULL}/{what}", "POST", "401 404 403 403 403 403 403 401", to={"number": "1", "rest": "1/edit"})
        for what in ("comment", "comment/<anypath:rest>")
    ),
    # Members may have the files anyway, so that asking is a conflict.
    row("<place:namespace>/<name:name>/ask-access", "POST", "401 404 409 409 409 409 409 401"),
    *(
        row(f"{HERE}/user-access-request/{what}", method, ADMINS, to={"state": "pending"}, json=json)
        for what, method, json in (
            ("<name:state>", "GET", None),
            ("handle", "POST", {"user": "stranger", "status": "accepted"}),
            ("grant", "POST", {"user": "stranger"}),
        )
    ),
    *[row(f"{HERE}{rest}", "GET", SEEN, DOWNLOADS, to=to) for rest, to in READING.items()],
    row(f"{HERE}/paths-info/<anypath:rest>", "POST", SEEN, DOWNLOADS, to={"rest": "main"}, form={"paths": "README.md"}),
    row(f"{HERE}/auth-check/write", "GET", "401 404 403 200 200 403 200 401", "200 404 200 403"),
    row(f"{HERE}/settings", "PUT", ADMINS, json={"gated": "auto"}),
    row(f"{HERE}/tag/<anypath:rest>", "POST", WRITERS, to={"rest": "v1"}, json={"tag": "new"}),
    row(f"{HERE}/tag/<anypath:rest>", "DELETE", WRITERS, to={"rest": "best"}),
    row(f"{HERE}/branch/<anypath:rest>", "POST", WRITERS, to={"rest": "new"}, json={"startingPoint": "v1"}),
    row(f"{HERE}/branch/<anypath:rest>", "DELETE", WRITERS, to={"rest": "side"}),
    row("<place:namespace>/<name:name>/resolve/<anypath:rest>", "GET", SEEN, DOWNLOADS, to={"rest": "v1/README.md"}),
    # An address of pages as well: by a session, or by a token.
    any_row("<place:namespace>/<name:name>/raw/<ref:ref>/<anypath:path>", "GET", PAGE, DOWNLOADS),
    row("api/<type:type>", "GET", ANYONE_WITH, "200 200 200 403"),
    # Of a new name: who may write in `lab`, or with a limit in all of it.
    row("api/repos/create", "POST", "401 403 403 200 200 403 200 401", "403 403 200 403", json=NEW),
    row("api/repos/delete", "DELETE", "401 404 403 403 200 403 403 401", "200 404 200 403", json=SECRET),
    row("api/repos/move", "POST", "401 404 403 403 200 403 403 401", "403 404 200 403", json=MOVE),
    row("api/settings/repositories", "GET", SIGNED_IN, limits="404 404 404 403"),
    row(
        "api/organizations/<name:namespace>/settings/repositories",
        "GET",
        "401 404 200 200 200 200 200 401",
        limits="404 404 200 403",
        site="200",
    ),
    *[row("api/<type:type>/<anypath:rest>", method, NOWHERE, HIDDEN, to=UNKNOWN) for method in WRITING],
    *[row("api/spaces/<anypath:rest>", method, NOWHERE, HIDDEN, to=UNKNOWN) for method in WRITING],
    *[row("<name:rest>/resolve/<anypath:path>", method, NOWHERE, HIDDEN, to=UNKNOWN) for method in WRITING],
    # A card is checked before there is a token.
    row("api/validate-yaml", "POST", ANYONE, limits="200 200 200 200", json={"content": "", "repoType": "model"}),
    *(
        row(f"{HERE}/{rest}", "POST", WRITERS, to={"type": "models", "rev": "main"}, **sent)
        for rest, sent in (
            ("preupload/<anypath:rev>", {"json": {"files": []}}),
            ("commit/<anypath:rev>", {"raw": HEADER}),
            ("super-squash/<anypath:rev>", {"json": {"message": "one"}}),
            ("lfs-files/batch", {"json": {"deletions": {"sha": []}}}),
            ("lfs-files/duplicate", {"json": MINE}),
        )
    ),
    row(f"{HERE}/lfs-files", "GET", WRITERS, to={"type": "models"}),
    # Who may propose may send.
    row(f"{GIT}/objects/batch", "POST", READERS, limits="200 404 200 404", json=BATCH),
    row(f"datasets/{GIT}/objects/batch", "POST", READERS, limits="404 404 200 404", json=BATCH),
    row(f"{GIT}/verify", "POST", SEEN_AND_MISSING, json=LFS_FILE),
    row(f"datasets/{GIT}/verify", "POST", SEEN_AND_MISSING, json=LFS_FILE),
    # A token is of no use here: the address must be signed.
    *(
        row("api/lfs/objects/<ref:oid>", method, to={"oid": "0" * 64}, **NOBODY["403"])
        for method in ("GET", "PUT", "POST")
    ),
    row(f"{HERE}/xet-write-token/<anypath:rev>", "GET", WRITERS, to={"type": "models", "rev": "main"}),
    row(
        f"{HERE}/xet-read-token/<anypath:rev>",
        "GET",
        "401 404 200 200 200 200 200 401",
        limits="200 404 200 200",
        to={"type": "models", "rev": "main"},
    ),
    # Chunks go by a token for their store; the hub's own tokens are none.
    *(
        row(f"{STORE}/{rest}", "POST", to=IN_STORE, raw=b"", **NOBODY["401"])
        for rest in ("v1/xorbs/default/<ref:hash>", "v1/shards", "v2/shards")
    ),
    *(
        row(f"{STORE}/v1/{rest}/default/<ref:hash>", method, to=IN_STORE, **NOBODY["404"])
        for rest in ("chunks", "xorb-grants")
        for method in ("GET", "POST")
    ),
    row(r"^api(?:/[\s\S]*)?$", "GET", "404 404 404 404 404 404 404 404", limits="404 404 404 404"),
]
