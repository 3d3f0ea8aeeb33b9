"""The files in deploy/ as far as they can be checked without a cluster: they parse, and what they name is there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.urls import resolve

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
# Read by boto3 itself.
NOT_OURS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"}
SOURCES = "\n".join(path.read_text() for path in (ROOT / "hub").rglob("*.py") if "migrations" not in path.parts)


def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def cluster() -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def units() -> dict[str, dict[str, str]]:
    """name → the lines of [Service]."""
    found = {}
    for path in sorted((DEPLOY / "systemd").glob("*.service")):
        lines = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
        found[path.name] = {key: value for key, _, value in lines}
    return found


def containers() -> list[dict]:
    found = [one["spec"]["template"]["spec"]["containers"] for one in cluster() if one["kind"] == "Deployment"]
    return [container for several in found for container in several]


def commands() -> dict[str, list[str]]:
    """where → the words after manage.py."""
    found = {
        f"compose {name}": service["command"]
        for name, service in compose()["services"].items()
        if service["image"] == "adapter-hub" and "command" in service
    }
    found |= {f"kubernetes {one['name']}": one["args"] for one in containers()}
    found |= {name: unit["ExecStart"].split("manage.py ")[1].split() for name, unit in units().items()}
    shown = re.search(r"^CMD (.*)$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    return found | {"Containerfile": json.loads(shown[1])}


@pytest.mark.parametrize("where", commands())
def test_each_command_is_one_of_the_hub_with_these_options(where):
    name, *options = commands()[where]
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args([option.replace("%i", "1") for option in options])


def test_every_process_of_a_site_is_in_each_way_to_deploy():
    for way in ("compose", "kubernetes", ".service"):
        assert {words[0] for where, words in commands().items() if way in where} == {"web", "worker", "beat"}, way


def variables() -> dict[str, set[str]]:
    services = [one for one in compose()["services"].values() if one["image"] == "adapter-hub"]
    maps = [one["data"] for one in cluster() if one["kind"] == "ConfigMap"]
    example = (DEPLOY / "systemd" / "hub.env.example").read_text()
    return {
        "compose": {name for one in services for name in one["environment"]},
        "kubernetes": {name for one in maps for name in one},
        "systemd": set(re.findall(r"^([A-Z_0-9]+)=", example, re.MULTILINE)),
        "Containerfile": set(re.findall(r"^ENV (HUB_\w+)", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)),
    }


@pytest.mark.parametrize("way", variables())
def test_each_variable_is_a_setting_of_the_hub_and_documented(way):
    documented = "\n".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    for name in variables()[way] - NOT_OURS:
        assert f'"{name}"' in SOURCES, f"{way} sets {name}, which the hub does not read"
        assert name in documented, name


def test_what_all_processes_must_share_is_given_to_all():
    shared = {"DATABASE_URL", "REDIS_URL", "STORAGE_URL", "HUB_SECRET_KEY"}
    for name, service in compose()["services"].items():
        if service["image"] == "adapter-hub":
            assert shared <= set(service["environment"]), name
    for container in containers():
        assert container["envFrom"] == [{"configMapRef": {"name": "hub"}}, {"secretRef": {"name": "hub"}}]
    assert all(unit["EnvironmentFile"] == "/etc/hub/hub.env" for unit in units().values())


def test_no_secret_stands_in_a_file_and_each_is_asked_for():
    text = (DEPLOY / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?\}", text))
    assert asked == {"HUB_SECRET_KEY", "POSTGRES_PASSWORD", "S3_SECRET_KEY"}
    example = (DEPLOY / ".env.example").read_text()
    assert all(f"\n{name}=\n" in example for name in asked)
    assert set(re.findall(r"\$\{(\w+):", text)) - asked <= {"HUB_HOST", "HUB_PORT"}


def test_the_sites_secrets_get_neither_into_the_image_nor_into_the_repository():
    assert "**/.env" in (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_database_takes_all_connections_of_the_site():
    site, most = compose()["services"], 0
    for name in ("web", "worker"):
        each = int(site[name]["environment"]["HUB_DATABASE_CONNECTIONS"]) if name == "web" else 4
        most += site[name]["deploy"]["replicas"] * each
    allowed = int(re.search(r"max_connections=(\d+)", " ".join(site["postgres"]["command"]))[1])
    assert most < allowed / 2


def test_probes_ask_addresses_that_are_there_under_a_name_that_is_served():
    allowed = next(one["data"]["HUB_ALLOWED_HOSTS"] for one in cluster() if one["kind"] == "ConfigMap")
    web = next(one for one in containers() if one["name"] == "web")
    for probe in ("readinessProbe", "startupProbe", "livenessProbe"):
        asked = web[probe]["httpGet"]
        resolve(asked["path"])
        assert asked["httpHeaders"] == [{"name": "Host", "value": allowed}]
        assert str(asked["port"]) == web["args"][web["args"].index("--port") + 1]


def test_services_find_their_pods():
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in cluster() if one["kind"] == "Deployment"]
    for one in cluster():
        selector = one.get("spec", {}).get("selector")
        if selector:
            assert selector.get("matchLabels", selector) in labels, one["metadata"]["name"]


def test_the_image_copies_what_is_there():
    text = (DEPLOY / "Containerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
    compiled = re.search(r"compileall -q -j 0 (.*) \\", text)[1].split()
    assert all((ROOT / name).exists() for name in compiled)


def test_nginx_takes_its_configuration(tmp_path):
    if not (nginx := shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")):
        pytest.skip("needs nginx")
    text = (DEPLOY / "nginx.conf").read_text()
    assert "server web:8000" in text
    (tmp_path / "nginx.conf").write_text(text.replace("server web:8000", "server 127.0.0.1:8000"))
    ran = subprocess.run([nginx, "-t", "-p", str(tmp_path), "-c", "nginx.conf"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_nginx_says_what_the_docs_say():
    text = (DEPLOY / "nginx.conf").read_text()
    for line in (
        "client_max_body_size 0;",
        "proxy_request_buffering off;",
        "proxy_buffering off;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
    ):
        assert line in text


def test_systemd_takes_the_units(tmp_path):
    if not (analyze := shutil.which("systemd-analyze")):
        pytest.skip("needs systemd-analyze")
    for path in (DEPLOY / "systemd").glob("*.service"):
        name = path.name.replace("@", "@1")
        text = path.read_text().replace("/srv/hub/.venv/bin/python", sys.executable).replace("/srv/hub", str(ROOT))
        (tmp_path / name).write_text(re.sub(r"^(User|EnvironmentFile)=.*$", "", text, flags=re.MULTILINE))
    ran = subprocess.run([analyze, "verify", *map(str, tmp_path.iterdir())], capture_output=True, text=True)
    said = [line for line in ran.stderr.splitlines() if str(tmp_path) in line]
    assert ran.returncode == 0 and not said, ran.stderr


def test_the_bucket_is_made_once_and_found_again():
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
        store = {"STORAGE_URL": "s3://hub/some/prefix", "STORAGE_ENDPOINT": f"http://{host}:{port}", "NO_PROXY": "*"}
        for _ in range(2):
            ran = subprocess.run(
                [sys.executable, str(DEPLOY / "make_bucket.py")],
                env={**os.environ, **keys, **store},
                capture_output=True,
                text=True,
                timeout=90,
            )
            assert (ran.returncode, ran.stdout.strip()) == (0, "The bucket hub is there."), ran.stderr
    finally:
        server.stop()


def test_the_page_names_commands_and_files_that_are_there():
    page = (ROOT / "docs" / "many-hosts.md").read_text()
    named = set(re.findall(r"manage\.py (\w+)", page))
    assert {"web", "worker", "beat", "migrate", "accept_secret_key"} <= named
    assert named <= set(get_commands())
    linked = re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", page)
    assert all((ROOT / "docs" / name).exists() for name in linked)
    assert "many-hosts.md" in (ROOT / "README.md").read_text()
