"""Who gets what on every route: one row for each route and method, and no route without rows.

A row's columns are the statuses for, in this order, at a private repository of `lab`:
anonymous, stranger, reader, writer, admin (API: by a token of every scope; pages: by a session); then, on routes that
take tokens, the admin's tokens: scope read only, scopes read and write, expired. On a page a token is nobody, so its
rows have five columns; `in` is a redirect to the sign-in page, 302 one to anywhere else.

Tokens that may do less have columns of their own, `limits`, all of them the admin's: with every scope, limited to
`lab/secret`, to `lab/other`, to `lab`; then without a limit and with the scope download alone. Left out they are, on
a route of a repository, what an admin, a stranger and an admin get, and 403; on other routes 403: such a route is
closed to limited tokens unless its view says otherwise.

The only administrator of the site, a member of nothing, gets what a stranger gets; `site` says where that differs.

`to` fills the address: words, or the keys of the world in `test_routes.world` (job, cancelled, token, upload).
"""

import json

from tests.hub.factories import PASSWORD, PICO_CONFIG
from tests.hub.protocol_route_rules import PROTOCOL_ROWS
from tests.hub.row import LIMITED, WHO, Row, row

__all__ = ["FILL", "FOR_ADAPTERS", "LIMITED", "ROWS_JSONL", "RULES", "WHO", "Row"]
FILL = {
    "type": "models",
    "namespace": "lab",
    "name": "secret",
    "ref": "v1",
    "path": "README.md",
    "tag": "best",
    "kind": "seeds",
    "companion": "seeds.jsonl",
    "username": "reader",
}


NO_ADMIN = "401 403 403 403 403 403 403 401"  # for administrators of the site alone, who are in no column
ADMINS = "401 403 403 403 200 403 403 401"
OWN_204 = "401 204 204 204 204 403 403 401"  # one's own account, by a token of every scope
AGAIN = {"password": PASSWORD}
API = "api/v1/"
HOOKS = "api/v1/namespaces/<name:namespace>/webhooks"
SENT = {"pk": "hook", "key": "delivery"}
REPOSITORY = "api/v1/repositories/<place:namespace>/<name:name>"
PUBLIC = "200 200 200 200 200 200 200 401"
SIGNED_IN = "401 200 200 200 200 200 200 401"
MEMBERS = "404 404 200 200 200 200 200 401"
STARTERS = "404 404 403 200 200 403 200 401"
MINE = "401 404 404 404 200 403 200 401"  # what the admin alone began

ONE_COMPANION = f"{REPOSITORY}/companions/<name:kind>/<anypath:companion>"
BASE = {"name": "org/new", "config": PICO_CONFIG}
MERGE = {"kind": "lego", "recipe": {"rank": 2}, "inputs": ["lab/secret"], "output": "lab/merged"}
ROWS_JSONL = b'{"prompt": "a", "completion": "b"}\n'
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

API_ROWS = [
    row(API + "schema", "GET", PUBLIC, "200 200 200 200"),
    row(API + "docs", "GET", PUBLIC, "200 200 200 200"),
    row(API + "me", "GET", SIGNED_IN, limits="200 200 200 200"),
    row(
        API + "sign-in",
        "POST",
        "201 201 201 201 201 201 201 201",
        limits="201 201 201 201",
        json={"username": "owner", "password": PASSWORD},
    ),
    row(
        API + "sign-up",
        "POST",
        "201 201 201 201 201 201 201 201",
        limits="201 201 201 201",
        json={"username": "fresh", "password": PASSWORD},
    ),
    row(API + "account", "GET", SIGNED_IN),
    row(API + "account/password", "POST", OWN_204, json=AGAIN | {"new_password": PASSWORD[::-1]}),
    row(API + "account/email", "POST", OWN_204, json=AGAIN | {"email": "new@example.org"}),
    row(API + "account/end", "POST", OWN_204, json={"what": "sessions"}),
    row(API + "account/second-factor", "POST", OWN_204.replace("204", "201"), json=AGAIN),
    # Nothing was begun, so there is nothing to confirm, to switch off or to recover.
    row(API + "account/second-factor/confirm", "POST", OWN_204.replace("204", "409"), json={"code": "000000"}),
    row(API + "account/second-factor/off", "POST", OWN_204, json=AGAIN),
    row(API + "account/second-factor/recovery-codes", "POST", OWN_204.replace("204", "409"), json=AGAIN),
    row(API + "account/deactivate", "POST", OWN_204, json=AGAIN, site="409"),
    # The admin of `lab` would leave it without one.
    row(API + "account/delete", "POST", "401 204 204 204 409 403 403 401", json=AGAIN, site="409"),
    row(API + "tokens", "GET", SIGNED_IN),
    row(API + "tokens", "POST", "401 201 201 201 201 403 403 401", json={"name": "x"}),
    row(API + "tokens/<number:pk>", "DELETE", "401 404 404 404 204 403 403 401", to={"pk": "token"}),
    row(API + "organisations", "GET", SIGNED_IN),
    row(API + "organisations", "POST", "401 201 201 201 201 403 201 401", json={"name": "guild"}),
    row(API + "organisations/<name:namespace>", "GET", "401 404 200 200 200 200 200 401"),
    row(
        API + "organisations/<name:namespace>/members/<name:username>",
        "PUT",
        "401 403 403 403 200 403 403 401",
        json={"role": "writer"},
    ),
    # The reader may leave.
    row(
        API + "organisations/<name:namespace>/members/<name:username>",
        "DELETE",
        "401 403 204 403 204 403 403 401",
    ),
    row(API + "namespaces/<name:namespace>/usage", "GET", "401 404 200 200 200 200 200 401", site="200"),
    row(API + "me/usage", "GET", SIGNED_IN),
    row(API + "namespaces/<name:namespace>/events", "GET", "401 403 403 403 200 403 403 401", limits="403 403 200 403"),
    row(API + "namespaces/<name:namespace>/protections", "GET", "401 404 200 200 200 200 200 401"),
    row(
        API + "namespaces/<name:namespace>/protections/<refpattern:pattern>",
        "PUT",
        "401 403 403 403 200 403 403 401",
        to={"pattern": "new-*"},
    ),
    row(
        API + "namespaces/<name:namespace>/protections/<refpattern:pattern>",
        "DELETE",
        "401 403 403 403 204 403 403 401",
        to={"pattern": "team-*"},
    ),
    row(HOOKS, "GET", ADMINS),
    row(HOOKS, "POST", ADMINS.replace("200", "201"), json={"url": "https://hub.example.org/in"}),
    row(f"{HOOKS}/<number:pk>", "GET", ADMINS, to={"pk": "hook"}),
    row(f"{HOOKS}/<number:pk>", "PATCH", ADMINS, to={"pk": "hook"}, json={"active": False}),
    row(f"{HOOKS}/<number:pk>", "DELETE", ADMINS.replace("200", "204"), to={"pk": "hook"}),
    row(f"{HOOKS}/<number:pk>/secret", "POST", ADMINS, to={"pk": "hook"}),
    row(f"{HOOKS}/<number:pk>/ping", "POST", ADMINS.replace("200", "201"), to={"pk": "hook"}),
    row(f"{HOOKS}/<number:pk>/deliveries", "GET", ADMINS, to={"pk": "hook"}),
    row(f"{HOOKS}/<number:pk>/deliveries/<uuid:key>", "GET", ADMINS, to=SENT),
    row(f"{HOOKS}/<number:pk>/deliveries/<uuid:key>/redeliver", "POST", ADMINS.replace("200", "201"), to=SENT),
    row(API + "bases", "GET", PUBLIC, limits="200 200 200 403"),
    row(API + "bases", "POST", "401 201 201 201 201 403 201 401", json=BASE),
    row(API + "bases/<anypath:name>", "GET", PUBLIC, limits="200 200 200 403", to={"name": "pico/llama"}),
    # The base is the owner's; a repository's roles say nothing of bases.
    row(
        API + "bases/<anypath:name>",
        "PATCH",
        "401 403 403 403 200 403 403 401",
        to={"name": "pico/owned"},
        json={"owner": "reader", "add_aliases": ["x/pico"], "drop_aliases": []},
        site="200",
    ),
    row(
        API + "bases/<anypath:name>", "DELETE", "401 403 403 403 204 403 403 401", to={"name": "pico/owned"}, site="204"
    ),
    row(API + "repositories", "GET", PUBLIC, limits="200 200 200 403"),
    row(
        API + "repositories",
        "POST",
        "401 403 403 201 201 403 201 401",
        limits="403 403 201 403",
        json={"namespace": "lab", "name": "new", "kind": "adapter"},
    ),
    row(API + "trash", "GET", SIGNED_IN, limits="200 200 200 403"),
    row(REPOSITORY, "GET", MEMBERS),
    row(REPOSITORY, "PATCH", "404 404 403 200 200 403 200 401", json={"description": "d"}),
    row(REPOSITORY, "DELETE", "404 404 403 403 204 403 403 401"),
    row(REPOSITORY + "/purge", "POST", "404 404 404 404 204 403 403 401", "404 404 204 403", to={"name": "gone"}),
    row(API + "upkeep", "GET", "401 403 403 403 403 403 403 401", site="200"),
    row(REPOSITORY + "/restore", "POST", "404 404 404 404 200 403 403 401", "404 404 200 403", to={"name": "gone"}),
    row(REPOSITORY + "/versions", "GET", MEMBERS),
    row(REPOSITORY + "/versions/<ref:ref>", "GET", MEMBERS),
    row(REPOSITORY + "/versions/<ref:ref>/verdict", "GET", MEMBERS),
    row(REPOSITORY + "/versions/<ref:ref>/loss", "GET", MEMBERS),
    # Measuring is for members who may see it: here the dataset is missing.
    row(
        REPOSITORY + "/versions/<ref:ref>/verdict",
        "POST",
        "404 404 404 404 404 403 404 401",
        json={"dataset": "lab/none"},
    ),
    row(REPOSITORY + "/files/<ref:ref>", "GET", MEMBERS, limits="200 404 200 200"),
    row(REPOSITORY + "/files/<ref:ref>/<anypath:path>", "GET", MEMBERS, limits="200 404 200 200"),
    row(REPOSITORY + "/refs", "GET", MEMBERS),
    row(REPOSITORY + "/refs/<longref:ref>/history", "GET", MEMBERS, to={"ref": "best"}),
    row(REPOSITORY + "/protections", "GET", MEMBERS),
    row(
        REPOSITORY + "/protections/<refpattern:pattern>",
        "PUT",
        "404 404 403 403 200 403 403 401",
        to={"pattern": "new-*"},
    ),
    row(
        REPOSITORY + "/protections/<refpattern:pattern>",
        "DELETE",
        "404 404 403 403 204 403 403 401",
        to={"pattern": "release-*"},
    ),
    row(REPOSITORY + "/tags/<longref:tag>", "PUT", "404 404 403 200 200 403 200 401", json={"ref": "v1"}),
    row(REPOSITORY + "/tags/<longref:tag>", "DELETE", "404 404 403 204 204 403 204 401"),
    row(REPOSITORY + "/companions", "GET", MEMBERS),
    row(
        REPOSITORY + "/companions",
        "POST",
        "404 404 403 201 201 403 201 401",
        raw=ROWS_JSONL,
        query="kind=seeds&name=new.jsonl",
    ),
    row(ONE_COMPANION, "GET", MEMBERS),
    row(ONE_COMPANION, "PATCH", "404 404 403 403 200 403 403 401", json={"visibility": "private"}),
    row(ONE_COMPANION, "DELETE", "404 404 403 204 204 403 204 401"),
    row(REPOSITORY + "/pulls", "GET", MEMBERS),
    row(REPOSITORY + "/pulls/<number:number>", "GET", MEMBERS, to={"number": "1"}),
    row(
        REPOSITORY + "/pulls/<number:number>",
        "PATCH",
        "404 404 403 200 200 403 200 401",
        to={"number": "1"},
        json={"title": "Another", "state": "closed"},
    ),
    row(REPOSITORY + "/pulls/<number:number>/merge", "POST", "404 404 403 200 200 403 200 401", to={"number": "1"}),
    row(REPOSITORY + "/access-requests", "GET", "404 404 403 403 200 403 403 401"),
    row(REPOSITORY + "/access-requests", "POST", "404 404 409 409 409 409 409 401"),  # members have the files anyway
    row(
        REPOSITORY + "/access-requests/<name:username>",
        "PUT",
        "404 404 403 403 200 403 403 401",
        to={"username": "stranger"},
        json={"state": "accepted"},
    ),
    row(REPOSITORY + "/events", "GET", "404 404 403 403 200 403 403 401"),
    row(
        REPOSITORY + "/uploads",
        "POST",
        "404 404 403 201 201 403 201 401",
        json={"files": [{"path": "notes.md", "size": 0, "sha256": EMPTY}]},
    ),
    row(API + "uploads/<uuid:pk>", "GET", MINE, limits="200 404 200 403", to={"pk": "upload"}),
    row(API + "uploads/<uuid:pk>", "DELETE", MINE.replace("200", "204"), limits="204 404 204 403", to={"pk": "upload"}),
    row(
        API + "uploads/<uuid:pk>/files/<anypath:path>",
        "PUT",
        MINE,
        limits="200 404 200 403",
        to={"pk": "upload"},
        raw=b"",
        headers={"Upload-Offset": "0", "Content-Length": "0"},
    ),
    row(API + "uploads/<uuid:pk>/commit", "POST", MINE, limits="200 404 200 403", to={"pk": "upload"}),
    # What the admin began goes to a repository, and not to a base.
    row(
        API + "uploads/<uuid:pk>/base-commit",
        "POST",
        MINE.replace("200", "409"),
        limits="409 404 409 403",
        to={"pk": "upload"},
    ),
    row(
        API + "bases/<name:org>/<name:model>/uploads",
        "POST",
        "401 403 403 403 201 403 201 401",
        site="201",
        to={"org": "pico", "model": "owned"},
        json={"files": [{"path": "model.safetensors", "size": 8, "sha256": EMPTY}]},
    ),
    row(API + "methods", "GET", PUBLIC, limits="200 200 200 403"),
    row(API + "jobs", "GET", SIGNED_IN, limits="200 200 200 403"),
    row(API + "jobs", "POST", "401 404 403 201 201 403 201 401", limits="403 404 201 403", json=MERGE),
    row(API + "jobs/check", "POST", "401 404 200 200 200 200 200 401", limits="200 404 200 403", json=MERGE),
    row(API + "jobs/<number:pk>", "GET", MEMBERS, limits="404 404 200 403", to={"pk": "job"}),
    row(API + "recipes", "POST", SIGNED_IN, limits="200 200 200 403", json={"text": "kind: svd\ninputs: [lab/secret]"}),
    row(API + "jobs/<number:pk>/recipe", "GET", MEMBERS, limits="404 404 200 403", to={"pk": "job"}),
    row(API + "jobs/<number:pk>/log", "GET", MEMBERS, limits="404 404 200 403", to={"pk": "job"}),
    row(API + "jobs/<number:pk>/events", "GET", MEMBERS, limits="404 404 200 403", to={"pk": "job"}),
    row(
        API + "jobs/<number:pk>/cancel",
        "POST",
        STARTERS,
        limits="404 404 403 403",
        to={"pk": "job"},
    ),
    row(
        API + "jobs/<number:pk>/retry",
        "POST",
        STARTERS,
        limits="404 404 403 403",
        to={"pk": "cancelled"},
    ),
    row(
        API + "jobs/<number:pk>/priority",
        "POST",
        STARTERS,
        limits="404 404 403 403",
        to={"pk": "job"},
        json={"priority": "high"},
    ),
    row(API + "workers", "GET", SIGNED_IN, limits="200 200 200 403"),
    row(API + "workers/bases", "GET", SIGNED_IN, limits="200 200 200 403"),
    row(API + "compare", "GET", MEMBERS, limits="200 404 200 403", query="version=lab/secret@v1"),
    row(API + "admin/users", "GET", NO_ADMIN, site="200"),
    row(API + "admin/users/<name:username>", "GET", NO_ADMIN, site="200"),
    row(API + "admin/users/<name:username>", "PATCH", NO_ADMIN, site="200", json={"active": False}),
    row(API + "admin/users/<name:username>/password-link", "POST", NO_ADMIN, site="201"),
    row(API + "admin/users/<name:name>/quota", "GET", NO_ADMIN, site="200", to={"name": "owner"}),
    row(
        API + "admin/users/<name:name>/quota",
        "PATCH",
        NO_ADMIN,
        site="200",
        to={"name": "owner"},
        json={"limits": {"tokens": 9}},
    ),
    row(API + "admin/namespaces/<name:name>/quota", "GET", NO_ADMIN, site="200", to={"name": "lab"}),
    row(
        API + "admin/namespaces/<name:name>/quota",
        "PATCH",
        NO_ADMIN,
        site="200",
        to={"name": "lab"},
        json={"limits": {"repositories": None}},
    ),
    row(API + "admin/jobs", "GET", NO_ADMIN, site="200"),
    row(API + "admin/jobs/<number:pk>/cancel", "POST", NO_ADMIN, site="200", to={"pk": "job"}),
    row(
        API + "admin/jobs/<number:pk>/priority",
        "POST",
        NO_ADMIN,
        site="200",
        to={"pk": "job"},
        json={"priority": "urgent"},
    ),
    *(row(API + f"admin/{what}", "GET", NO_ADMIN, site="200") for what in ("workers", "bases", "storage")),
    row(API + "admin/namespaces", "GET", NO_ADMIN, site="200"),
    row(API + "admin/events", "GET", NO_ADMIN, site="200"),
    row(API + "admin/events/export", "GET", NO_ADMIN, site="200", query="format=csv"),
    *(
        row(API + r"^[\s\S]*$", method, " ".join(["404"] * 8), "404 404 404 404")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    ),
]

ALL = "200 200 200 200 200"
IN = "in 200 200 200 200"
PAGE = "404 404 200 200 200"
WRITERS = "404 404 403 302 302"
ADMINS = "404 404 403 403 302"
OUT = "in 403 403 403 403"  # for administrators of the site alone
HERE = "<place:namespace>/<name:name>"

PAGE_ROWS = [
    row("", "GET", ALL),
    row("merge", "GET", ALL),
    row("merge", "POST", "in 404 200 200 200", form={"check": "1", "kind": "lego", "inputs": "lab/secret@v1"}),
    row("merge/compare", "GET", "in 302 302 302 302"),
    row("merge/compare", "POST", "in 404 422 422 422", form={"inputs": "lab/secret@v1"}),
    row("merge/basket", "POST", "302 302 302 302 302", form={"clear": "1"}),
    row("generate", "GET", ALL),
    row("generate", "POST", "in 200 200 200 200", form={"check": "1", "base": "pico/llama", "text": "A text."}),
    row("generate/train", "GET", ALL),
    row("generate/train", "POST", "in 200 200 200 200", form={"check": "1", "base": "pico/llama"}),
    row("compare", "GET", ALL, query="version=lab/secret@v1"),
    row("upload", "GET", "in 404 403 200 200", query="to=lab/secret"),
    row("jobs", "GET", IN),
    row("jobs/new", "GET", ALL, query="kind=svd"),
    row(
        "jobs/new",
        "POST",
        "in 404 403 302 302",
        form={"kind": "svd", "rank": "2", "inputs": "lab/secret", "namespace": "lab", "name": "new"},
    ),
    row("jobs/evaluate", "GET", IN),
    row("jobs/evaluate", "POST", "in 404 422 422 422", form={"version": "lab/secret@v1"}),
    row("jobs/<number:pk>", "GET", PAGE, to={"pk": "job"}),
    row("jobs/<number:pk>/cancel", "POST", WRITERS, to={"pk": "job"}),
    row("jobs/<number:pk>/retry", "POST", WRITERS, to={"pk": "cancelled"}),
    row("jobs/<number:pk>/priority", "POST", WRITERS, to={"pk": "job"}, form={"priority": "low"}),
    row("jobs/<number:pk>/again", "POST", "404 404 302 302 302", to={"pk": "job"}),
    row("sign-in/oidc", "GET", "404 404 404 404 404"),  # no provider is set
    row("sign-in/oidc/back", "GET", "404 404 404 404 404"),
    row("account/connections", "POST", "404 404 404 404 404"),
    row("account/connections/<number:pk>/remove", "POST", "in 404 404 404 404", to={"pk": "1"}),
    row("healthz", "GET", ALL),
    row("readyz", "GET", ALL),
    row("metrics", "GET", "404 404 404 404 404", site="200"),
    row("install", "GET", ALL),
    row("install/latest", "GET", ALL),
    row("install/simple/", "GET", ALL),
    row("install/simple/<name:project>/", "GET", ALL, to={"project": "adapter-hub"}),
    row("install/<str:filename>", "GET", "404 404 404 404 404", to={"filename": "of-an-older-hub.whl"}, site="404"),
    row("workers", "GET", IN),
    row("bases", "GET", ALL),
    row("bases/new", "GET", IN),
    row("bases/new", "POST", "in 302 302 302 302", form={"name": "org/new", "config": json.dumps(PICO_CONFIG)}),
    row("bases/<anypath:name>", "GET", ALL, to={"name": "pico/llama"}),
    row(
        "bases/<anypath:name>/-/change",
        "POST",
        "in 403 403 403 302",
        to={"name": "pico/owned"},
        form={"owner": "reader", "alias": "", "drop": ""},
        site="302",
    ),
    row("bases/<anypath:name>/-/delete", "POST", "in 403 403 403 302", to={"name": "pico/owned"}, site="302"),
    row("sign-in", "GET", ALL),
    row("sign-in", "POST", "302 302 302 302 302", form={"username": "owner", "password": PASSWORD}),
    *(row(f"admin{part}", "GET", OUT, site="200") for part in ("", "/jobs", "/workers", "/storage", "/bases")),
    row("admin/users/<name:username>", "GET", OUT, site="200"),
    row("admin/users/<name:username>", "POST", OUT, site="302", form={"act": "suspend"}),
    row("admin/jobs/<number:pk>/cancel", "POST", OUT, site="302", to={"pk": "job"}),
    row("admin/jobs/<number:pk>/priority", "POST", OUT, site="302", to={"pk": "job"}, form={"priority": "high"}),
    *(
        row(f"admin/quotas/{of}/<name:name>", method, OUT, site=site, to={"name": name}, form={"reason": "test"})
        for of, name in (("users", "owner"), ("namespaces", "lab"))
        for method, site in (("GET", "200"), ("POST", "302"))
    ),
    row("admin/events", "GET", OUT, site="200"),
    row("admin/events/export", "GET", OUT, site="200", query="format=jsonl"),
    # Nobody here has given a password and owes a code, or has opened a link.
    row("sign-in/code", "GET", "in in in in in"),
    row("sign-in/code", "POST", "in in in in in", form={"code": "000000"}),
    row("sign-in/reset", "GET", ALL),
    row("sign-in/reset", "POST", ALL, form={"name": "owner"}),
    row("sign-in/reset/new", "GET", "422 422 422 422 422"),
    row("sign-in/reset/new", "POST", "422 422 422 422 422", form=AGAIN),
    row("sign-in/reset/<str:uid>/<str:token>", "GET", "422 422 422 422 422", to={"uid": "MQ", "token": "x-y"}),
    row("account", "GET", IN),
    row("account/password", "POST", "in 302 302 302 302", form=AGAIN | {"new_password": PASSWORD[::-1]}),
    row("account/email", "POST", "in 302 302 302 302", form=AGAIN | {"email": "new@example.org"}),
    row("account/end", "POST", "in 302 302 302 302", form={"what": "tokens"}),
    row("account/second-factor", "GET", IN),
    row("account/second-factor", "POST", "in 302 302 302 302", form=AGAIN),
    row("account/second-factor/off", "POST", "in 302 302 302 302", form=AGAIN),
    row("account/second-factor/codes", "POST", "in 409 409 409 409", form=AGAIN),
    row("account/deactivate", "POST", "in 302 302 302 302", form=AGAIN, site="409"),
    row("account/delete", "POST", "in 302 302 302 409", form=AGAIN, site="409"),
    row("sign-up", "GET", ALL),
    row("sign-up", "POST", "302 302 302 302 302", form={"username": "newcomer", "password": PASSWORD}),
    row("sign-out", "POST", "302 302 302 302 302"),
    row("tokens", "GET", IN),
    row("tokens", "POST", IN, form={"name": "x", "scopes": "read", "expires_in_days": "7"}),
    row("tokens/<number:pk>/revoke", "POST", "in 404 404 404 302", to={"pk": "token"}),
    row("<name:namespace>/-/webhooks", "GET", "in 403 403 403 200"),
    row("<name:namespace>/-/webhooks", "POST", "in 403 403 403 200", form={"url": "https://hub.example.org/in"}),
    row("<name:namespace>/-/webhooks/<number:pk>", "GET", "in 403 403 403 200", to={"pk": "hook"}),
    row(
        "<name:namespace>/-/webhooks/<number:pk>", "POST", "in 403 403 403 302", to={"pk": "hook"}, form={"act": "off"}
    ),
    row("organisations", "GET", IN),
    row("organisations", "POST", "in 302 302 302 302", form={"name": "guild"}),
    row("trash", "GET", IN),
    row(f"trash/{HERE}/purge", "POST", "404 404 404 404 302", to={"name": "gone"}),
    row("admin/upkeep", "GET", "in 403 403 403 403", site="200"),
    row(f"trash/{HERE}", "POST", "404 404 404 404 302", to={"name": "gone"}),
    row("<name:namespace>", "GET", ALL),
    row("<name:namespace>/-/members", "POST", "in 403 403 403 302", form={"username": "reader", "role": "writer"}),
    row("<name:namespace>/-/protections", "POST", "in 403 403 403 302", form={"pattern": "new-*"}),
    row(HERE, "GET", PAGE),
    row(f"{HERE}/at/<ref:ref>", "GET", PAGE),
    row(f"{HERE}/files/<ref:ref>", "GET", PAGE),
    row(f"{HERE}/versions", "GET", PAGE),
    row(f"{HERE}/modules/<ref:ref>", "GET", PAGE),
    row(f"{HERE}/report/<ref:ref>", "GET", PAGE),
    row(f"{HERE}/transfer", "GET", PAGE),
    row(
        f"{HERE}/transfer", "POST", "404 404 200 200 200", form={"check": "1", "kind": "portllm", "base": "pico/llama"}
    ),
    row(f"{HERE}/measure/<ref:ref>", "POST", "404 404 302 302 302"),
    row(f"{HERE}/try", "GET", PAGE),
    row(f"{HERE}/try", "POST", "404 404 302 302 302", form={"prompt": "a"}),
    row(f"{HERE}/try/<ref:ref>", "GET", PAGE),
    row(f"{HERE}/try/<ref:ref>", "POST", "404 404 302 302 302", form={"prompt": "a"}),
    row(f"{HERE}/settings", "GET", "404 404 403 403 200"),
    row(f"{HERE}/settings", "POST", ADMINS, form={"visibility": "private", "description": "d"}),
    row(f"{HERE}/discussions", "GET", PAGE),
    row(f"{HERE}/discussions/<number:number>", "GET", PAGE, to={"number": "1"}),
    row(f"{HERE}/discussions/<number:number>", "POST", WRITERS, to={"number": "1"}, form={"act": "merge"}),
    row(f"{HERE}/access", "POST", "404 404 409 409 409"),
    row(f"{HERE}/access/<name:username>", "POST", ADMINS, to={"username": "stranger"}, form={"state": "accepted"}),
    row(f"{HERE}/delete", "POST", ADMINS),
    row(
        f"{HERE}/companion",
        "POST",
        "404 404 403 403 302",
        form={"act": "private", "kind": "seeds", "name": "seeds.jsonl"},
    ),
    row(f"{HERE}/protections", "POST", ADMINS, form={"pattern": "new-*"}),
    row(f"{HERE}/history/<longref:ref>", "GET", PAGE, to={"ref": "best"}),
    row(f"{HERE}/tag", "POST", WRITERS, form={"name": "best", "ref": "v1"}),
    row(f"{HERE}/card", "GET", "404 404 403 200 200"),
    # A card edited from an old page is a conflict, told on the page.
    row(f"{HERE}/card", "POST", "404 404 403 409 409", form={"text": "# New", "head": "0" * 40}),
]

# What a repository of another kind has not, whoever asks.
FOR_ADAPTERS = ("/modules/", "/report/", "/transfer", "/measure/", "/try", "/verdict", "/loss")

RULES = [*API_ROWS, *PAGE_ROWS, *PROTOCOL_ROWS]
