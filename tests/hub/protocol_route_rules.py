"""The rows of `route_rules` for the Hugging Face Hub protocol (hub/hf). Its routes take tokens only."""

from functools import partial

from tests.hub.row import row as any_row

row = partial(any_row, protocol=True)

HERE = "api/<type:type>/<name:namespace>/<name:name>"
OF_WRITERS = "401 404 403 200 200 403 200 401"
HEADER = b'{"key": "header", "value": {"summary": "nothing"}}\n'
MINE = {"target": {"type": "model", "name": "lab/secret"}, "files": []}
ANYONE = "200 200 200 200 200 200 200 200"
NOBODY = {
    status: {"statuses": " ".join([status] * 8), "limits": " ".join([status] * 4)} for status in ("401", "403", "404")
}
BATCH = {"operation": "upload", "transfers": ["basic"], "objects": []}
LFS_FILE = {"oid": "0" * 64, "size": 1}
SEEN_AND_MISSING = "401 404 404 404 404 403 404 401"
NO_DATASET = {"statuses": "401 404 404 404 404 404 404 401", "limits": "404 404 404 404"}
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
    row(f"{GIT}/objects/batch", "POST", OF_WRITERS, limits="200 404 200 404", json=BATCH),
    row(f"datasets/{GIT}/objects/batch", "POST", json=BATCH, **NO_DATASET),
    row(f"{GIT}/verify", "POST", SEEN_AND_MISSING, json=LFS_FILE),
    row(f"datasets/{GIT}/verify", "POST", SEEN_AND_MISSING, json=LFS_FILE),
    # A token is of no use here: the address must be signed.
    *(
        row("api/lfs/objects/<ref:oid>", method, to={"oid": "0" * 64}, **NOBODY["403"])
        for method in ("GET", "PUT", "POST")
    ),
    row(f"{HERE}/xet-write-token/<anypath:rev>", "GET", OF_WRITERS, to={"type": "models", "rev": "main"}),
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
