"""`hubctl` from the hub that it is for: the wheel, the page, the index, and a fresh Python that has nothing else."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hub.client import wheel
from hub.client.wheel import build
from tests.hubctl.conftest import make_token

ROOT = Path(__file__).resolve().parents[2]
ALONE = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def opened(data: bytes) -> dict[str, bytes]:
    """path → bytes of a wheel, the version taken out of the paths."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        return {name.partition(".dist-info")[2] or name: archive.read(name) for name in names}


def copy_of_the_tree(to: Path) -> Path:
    """What the wheel is made of, links followed."""
    shutil.copytree(ROOT / "hubctl", to / "hubctl", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


def test_the_wheel_is_what_setuptools_makes_of_the_same_tree(tmp_path):
    tree = copy_of_the_tree(tmp_path)
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, "out"], cwd=tree, check=True, capture_output=True)
    theirs = opened(next((tree / "out").glob("*.whl")).read_bytes())
    ours = opened(build(ROOT).data)
    modules = {name for name in theirs if name.endswith(".py")}
    assert "hubctl/merged_model/write.py" in modules and "hubctl/lora_moe_peft.py" in modules
    assert {name: ours[name] for name in ours if name.endswith(".py")} == {name: theirs[name] for name in modules}
    assert set(ours["/entry_points.txt"].split()) == set(theirs["/entry_points.txt"].split())
    fields = ("Name", "Summary", "Requires-", "Provides-")
    said = [
        {line.replace(" ", "") for line in files["/METADATA"].decode().splitlines() if line.startswith(fields)}
        for files in (ours, theirs)
    ]
    assert {Requirement(r.partition(":")[2]) for r in said[0] if r.startswith("Requires-Dist")} == {
        Requirement(r.partition(":")[2]) for r in said[1] if r.startswith("Requires-Dist")
    }


def test_the_same_tree_gives_the_same_bytes_and_another_tree_another_version(tmp_path):
    tree = copy_of_the_tree(tmp_path)
    first = build(tree)
    assert first.data == build(ROOT).data
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()
    (tree / "hubctl/cli.py").touch()
    assert build(tree).data == first.data
    (tree / "hubctl/cli.py").write_text("# changed\n")
    assert build(tree).version != first.version


def test_the_wheel_has_all_modules_of_the_client():
    there = {str(path.relative_to(ROOT)) for path in _followed(ROOT / "hubctl")}
    assert {name for name in opened(wheel().data) if name.endswith(".py")} == there


def _followed(folder: Path) -> list[Path]:
    found = [Path(at) / name for at, _, names in os.walk(folder, followlinks=True) for name in names]
    return [path for path in found if path.suffix == ".py"]


def test_nothing_tells_people_to_install_it_by_its_name():
    """On an index that isn't ours the name is anyone's; see the page /install."""
    places = [
        path for room in ("hub", "hubctl", "templates", "docs", "composition") for path in (ROOT / room).rglob("*")
    ]
    texts = {path: path.read_text() for path in [ROOT / "README.md", *places] if path.suffix in (".py", ".md", ".html")}
    named = re.compile(r"""pip install ["']?adapter[-_]hub(?!\S* @)""")
    assert [str(path) for path, text in texts.items() if named.search(text)] == []


def test_the_record_tells_every_file_truly():
    with zipfile.ZipFile(io.BytesIO(wheel().data)) as archive:
        record = next(name for name in archive.namelist() if name.endswith("RECORD"))
        rows = [line.split(",") for line in archive.read(record).decode().splitlines()]
        assert {row[0] for row in rows} == set(archive.namelist())
        for path, digest, size in rows:
            if path != record:
                data = archive.read(path)
                assert int(size) == len(data)
                assert digest == "sha256=" + encoded(data)


def encoded(data: bytes) -> str:
    import base64

    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def test_the_client_needs_what_the_hub_has():
    given = {
        Requirement(line).name: Requirement(line)
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    for needed in map(Requirement, wheel().dependencies):
        assert given[needed.name] == needed


@pytest.mark.django_db
def test_a_browser_gets_a_page_and_curl_a_text(client):
    page = client.get("/install", headers={"Accept": "text/html,*/*;q=0.8"})
    text = client.get("/install", headers={"Accept": "*/*"})
    assert page["Content-Type"].startswith("text/html") and text["Content-Type"].startswith("text/plain")
    address = f"http://testserver/install/{wheel().filename}#sha256={wheel().sha256}"
    assert address in page.content.decode() and address in text.content.decode()
    commands = [line for line in text.content.decode().splitlines() if line and not line.startswith("#")]
    assert commands == [f'pip install "adapter-hub @ {address}"']
    assert client.get("/install/latest").content.decode() == f"adapter-hub @ {address}\n"
    assert page["Vary"] and "Accept" in page["Vary"]


@pytest.mark.django_db
def test_the_index_has_one_project_as_html_and_as_json(client):
    listed = client.get("/install/simple/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    assert listed.json()["projects"] == [{"name": "adapter-hub"}]
    files = client.get("/install/simple/adapter-hub/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    assert files["Content-Type"] == "application/vnd.pypi.simple.v1+json"
    assert files.json()["files"][0]["hashes"] == {"sha256": wheel().sha256}
    html = client.get("/install/simple/adapter-hub/").content.decode()
    assert f"#sha256={wheel().sha256}" in html and 'data-requires-python="&gt;=3.11"' in html
    assert client.get("/install/simple/torch/").status_code == 404
    gone = client.get("/install/adapter_hub-0.0.1-py3-none-any.whl")
    assert gone.status_code == 404 and wheel().filename in gone.content.decode()


def test_every_page_that_names_a_command_says_where_to_get_it():
    pages = {path: path.read_text() for path in (ROOT / "templates").rglob("*.html")}
    named = {path for path, text in pages.items() if "<code>hubctl " in text or "<code>hubctl login" in text}
    assert len(named) > 5
    without = {
        str(path) for path in named if "parts/get_hubctl.html" not in pages[path] and path.parent.name != "install"
    }
    assert without <= {str(ROOT / "templates/parts/get_hubctl.html")}


def test_every_document_that_names_a_command_says_where_to_get_it():
    documents = {path: path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
    named = {path.name: text for path, text in documents.items() if re.search(r"^hubctl |`hubctl ", text, re.M)}
    assert len(named) > 10
    told = ("/install", "hubctl.md#installing")
    assert [name for name, text in named.items() if not any(words in text for words in told)] == []


def linked(names: list[str], to: Path) -> None:
    """Links to these installed packages and all that they need, and to nothing else."""
    to.mkdir()
    todo, seen = list(names), set()
    while todo:
        if (name := canonicalize_name(todo.pop())) in seen:
            continue
        seen.add(name)
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            (to / top).symlink_to(found.locate_file(top))
        for needed in map(Requirement, found.requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                todo.append(needed.name)


def pip(*arguments: str, python: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    chosen = ["--python", str(python)] if python else []
    command = [sys.executable, "-m", "pip", *chosen, "install", "--no-cache-dir", *arguments]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    return subprocess.run(command, env=kept | ALONE | environment, capture_output=True, text=True)


@pytest.mark.django_db(transaction=True)
def test_a_fresh_python_installs_pushes_and_pulls(served, ada, base, adapter, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv/bin/python"
    linked([Requirement(needed).name for needed in wheel().dependencies], tmp_path / "needed")
    site = next((tmp_path / "venv/lib").glob("python*")) / "site-packages"
    (site / "needed.pth").write_text(f"{tmp_path / 'needed'}\n")
    address = f"{served}/install/{wheel().filename}"
    refused = pip("--no-deps", f"{address}#sha256={'0' * 64}", python=python)
    assert refused.returncode != 0 and "HASHES" in refused.stderr.upper()
    done = pip("--no-deps", f"{address}#sha256={wheel().sha256}", python=python)
    assert done.returncode == 0, done.stderr

    token = make_token(ada)
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HUBCTL_URL": served, "HUBCTL_TOKEN": token}

    def run(*words: object) -> str:
        command = [str(tmp_path / "venv/bin/hubctl"), *map(str, words)]
        done = subprocess.run(command, env=clean, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("--version") == f"hubctl {wheel().version}\n"
    assert "ada/mine@v1 pushed" in run("push", adapter, "ada/mine")
    run("pull", "ada/mine", "-o", "out")
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (adapter / weights).read_bytes()
    code = "import importlib.util as u; print([n for n in ('django', 'torch', 'hub', 'composition') if u.find_spec(n)])"
    found = subprocess.run([python, "-c", code], env=clean, cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout == "[]\n", found.stderr


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_stranger_of_the_same_name_is_not_taken_for_it(served, tmp_path):
    """The address and the index alone give ours, whatever others offer; a name beside another index does not."""
    theirs = tmp_path / "adapter_hub-99.0-py3-none-any.whl"
    metadata = "Metadata-Version: 2.1\nName: adapter-hub\nVersion: 99.0\n"
    with zipfile.ZipFile(theirs, "w") as archive:
        archive.writestr("adapter_hub-99.0.dist-info/METADATA", metadata)
        archive.writestr("adapter_hub-99.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("adapter_hub-99.0.dist-info/RECORD", "")

    def chosen(*arguments: str) -> str:
        done = pip("--no-deps", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["install"][0]["metadata"]["version"]

    index, beside = f"--index-url={served}/install/simple/", f"--find-links={tmp_path}"
    line = f"adapter-hub @ {served}/install/{wheel().filename}#sha256={wheel().sha256}"
    assert chosen(index, beside, line) == wheel().version
    assert chosen(index, "adapter-hub") == wheel().version
    assert chosen(index, beside, "adapter-hub") == "99.0"
