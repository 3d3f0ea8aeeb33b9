"""Calls of a client, one after another in one process, and what came of each.

It runs in environments of old clients, so it needs nothing but Python 3.9.
"""

import hashlib
import json
import os
import time
import traceback
from pathlib import Path

GIVEN = json.loads(os.environ.get("GIVEN", "{}"))
_CALLS = []


class NotInThisClient(Exception):
    """This version of the client doesn't have the call."""


def call(name):
    """Register a call under the name that the table in the docs has."""

    def keep(function):
        _CALLS.append((name, function))
        return function

    return keep


def needs(thing, name):
    """Raise NotInThisClient where `thing` has no attribute `name`."""
    if not hasattr(thing, name):
        raise NotInThisClient(name)


def run():
    """Make all calls in order; print {"call", "result": "yes" | "no" | "absent", "why", "seconds"} a line."""
    for name, function in _CALLS:
        began, result, why = time.time(), "yes", ""
        try:
            function()
        except NotInThisClient as error:
            result, why = "absent", str(error)
        except BaseException:
            result, why = "no", traceback.format_exc()[-3000:]
        row = {"call": name, "result": result, "why": why, "seconds": round(time.time() - began, 2)}
        print("CALL " + json.dumps(row), flush=True)


def raised(kind, function, *arguments, **named):
    """The error of `kind` that the call raises; an AssertionError where it raises none."""
    try:
        function(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"{function} raised no {kind}")


def same_files(one, other, names=None):
    """Whether two folders hold the same bytes, under all names or those given."""
    digests = [
        {str(path.relative_to(folder)): sha256(path) for path in Path(folder).rglob("*") if path.is_file()}
        for folder in (one, other)
    ]
    for found in digests:
        for name in [name for name in found if name.startswith((".cache", ".git")) or (names and name not in names)]:
            del found[name]
    assert digests[0] == digests[1] != {}, digests


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
