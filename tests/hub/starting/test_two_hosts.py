"""Two hosts that start at the same moment on an empty PostgreSQL database both come up, and serve as one site."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from hub.runtime.valkey import free_port
from tests.hub.starting.hosts import ROOT, Host, empty_database
from tests.workers.stage import until

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture
def hosts(tmp_path):
    """Two machines of one site."""
    with empty_database() as database:
        store = tmp_path / "store"
        hosts = [
            Host(tmp_path / name, database, store=store, HUB_TRUSTED_PROXIES="127.0.0.1") for name in ("one", "two")
        ]
        try:
            yield hosts
        finally:
            for host in hosts:
                host.close()


def test_both_come_up_and_serve_their_static_files(hosts):
    waiting = hosts[1].start("beat")
    for host in hosts:
        host.web()
    for host in hosts:
        host.wait_until(host.ready)
        assert "Traceback" not in host.said()
        assert (host.folder / "static" / "staticfiles.json").exists()
    hosts[1].wait_until(lambda: "does the periodic work" in hosts[1].said())
    assert waiting.poll() is None
    other = Host(hosts[0].folder / "other", hosts[0].environment["DATABASE_URL"], store=hosts[0].folder / "store")
    other.environment["HUB_SECRET_KEY"] = "a key of its own, as a host makes one without the setting"
    refused = other.run("beat")
    assert refused.returncode != 0
    assert "Give every host the same HUB_SECRET_KEY" in refused.stderr
    if nginx := shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"):
        one_site(hosts, nginx)


def one_site(hosts: list[Host], nginx: str) -> None:
    """Behind the proxy as deploy/nginx.conf has it: who signs in at one host is signed in at both."""
    made = hosts[0].run("create_user", "ada", "--password-stdin", "--admin", given="a long word for ada\n")
    assert made.returncode == 0, made.stderr
    folder, port = hosts[0].folder / "nginx", free_port("127.0.0.1")
    proxy = start_nginx(nginx, folder, port, hosts)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as browser:
            until(lambda: answers(browser), 30, every=0.3)
            page = browser.get("/sign-in").text
            form = {"username": "ada", "password": "a long word for ada", "csrfmiddlewaretoken": token_of(page)}
            assert browser.post("/sign-in", data=form).status_code == 302
            served = [browser.get("/tokens").status_code for _ in range(12)]
            assert served == [200] * 12
            asked = [(host.folder / "log").read_text().count("GET /tokens 200") for host in hosts]
            assert min(asked) > 0 and sum(asked) == 12, "both answer, and nothing is sticky"
            large = browser.post("/api/v1/repositories", content=b" " * 6_000_000)
            assert large.headers["content-type"] == "application/problem+json", "the refusal is the hub's own"
    finally:
        proxy.terminate()
        proxy.wait(15)


def start_nginx(nginx: str, folder: Path, port: int, hosts: list[Host]) -> subprocess.Popen:
    """deploy/nginx.conf with these addresses, as a user's own process."""
    folder.mkdir()
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    (line,) = re.findall(r"^ *server web:8000.*$", text, re.MULTILINE)
    servers = "\n".join(line.replace("web:8000", f"127.0.0.1:{host.port}") for host in hosts)
    text = text.replace(line, servers).replace("listen 80;", f"listen 127.0.0.1:{port};")
    (folder / "nginx.conf").write_text(text.replace("http {", "http {\n    access_log off;", 1))
    told = f"daemon off; pid {folder}/pid; error_log {folder}/error.log;"
    return subprocess.Popen([nginx, "-p", str(folder), "-c", "nginx.conf", "-g", told], stderr=subprocess.DEVNULL)


def answers(browser: httpx.Client) -> bool:
    try:
        return browser.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def token_of(page: str) -> str:
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
