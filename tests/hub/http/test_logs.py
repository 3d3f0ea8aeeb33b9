"""The log: each line says its request or job; as JSON it is one object a line."""

import json
import logging
import logging.config
import subprocess
import sys
from pathlib import Path

import pytest

from hub import logs

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import logging, logging.config, sys
from hub import logs
logging.config.dictConfig(logs.configuration(form=sys.argv[1], level="INFO"))
log = logging.getLogger("hub.somewhere")
with logs.in_request("abc"):
    log.info("first\\nline", extra={"status": 200})
with logs.in_job(12, 3):
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("second")
log.debug("never")
logging.getLogger("django.request").warning("Not Found: /x")
"""


def written(form: str) -> list[str]:
    """What a process of its own writes to standard error."""
    run = subprocess.run([sys.executable, "-c", SCRIPT, form], cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stderr.splitlines()


def test_json_is_an_object_a_line():
    first, second = map(json.loads, written("json"))
    assert first["message"] == "first\nline"
    assert (first["level"], first["logger"], first["status"]) == ("INFO", "hub.somewhere", 200)
    assert (first["request"], first["job"]) == ("abc", "")
    assert (second["request"], second["job"]) == ("", "12.3")
    assert "ZeroDivisionError" in second["exc_info"]
    assert first["time"]


def test_text_is_for_people():
    lines = written("text")
    assert lines[0].endswith("hub.somewhere: first")
    assert "line [request=abc]" in lines[1]
    assert "second [job=12.3]" in "\n".join(lines)


@pytest.mark.django_db
def test_a_request_leaves_one_line_without_its_query(client, caplog):
    with caplog.at_level(logging.INFO, logger="hub.requests"):
        client.get("/api/v1/methods?token=secret")
        client.get("/healthz")
    (line,) = [record for record in caplog.records if record.name == "hub.requests"]
    assert (line.method, line.path, line.status, line.user) == ("GET", "/api/v1/methods", 200, None)
    assert "secret" not in line.getMessage()


def test_what_happens_in_a_request_has_its_id():
    assert logs.request_id() == ""
    with logs.in_request("abc"):
        assert logs.request_id() == "abc"
    assert logs.request_id() == ""
