"""The `hf` command, `huggingface-cli` before 0.34: its own entry point, called in this process."""

import contextlib
import io
import sys
from importlib.metadata import distribution
from pathlib import Path

from tests.clients.journeys import folders
from tests.clients.journeys.calls import GIVEN, NotInThisClient, call, run, same_files, sha256

REPO = f"ada/{GIVEN['name']}-cli"
FILES = ["README.md", "adapter_config.json", "adapter_model.safetensors"]
ENTRIES = {row.name: row for row in distribution("huggingface_hub").entry_points if row.group == "console_scripts"}
HF = "hf" in ENTRIES
VERSION = tuple(int(part) for part in distribution("huggingface_hub").version.split(".")[:2])


def hf(*arguments):
    """What `hf` prints for these arguments; RuntimeError where it exits with an error."""
    out = io.StringIO()
    sys.argv = ["hf", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            ENTRIES["hf" if HF else "huggingface-cli"].load()()
        except SystemExit as done:
            if done.code:
                raise RuntimeError(f"hf {' '.join(arguments)}: {out.getvalue()[-2000:]}") from None
    return out.getvalue()


def repos(*arguments):
    """`hf repos`, `hf repo` before 1.0."""
    if not HF:
        raise NotInThisClient("huggingface-cli has no such command")
    return hf("repos" if VERSION >= (1, 0) else "repo", *arguments)


@call("`hf auth login`, `hf auth whoami`")
def login():
    auth = ["auth"] if HF else []
    hf(*auth, "login", "--token", GIVEN["ada"])
    assert "ada" in hf(*auth, "whoami")


@call("`hf repos create`")
def create():
    repos("create", REPO)


@call("`hf upload` of a folder, of a file, to a branch")
def upload():
    folders.adapter("one", seed=1)
    hf("upload", REPO, "one", ".", "--commit-message", "First")
    Path("notes.md").write_text("notes\n")
    hf("upload", REPO, "notes.md", "docs/notes.md")
    hf("upload", REPO, "notes.md", "tries.md", "--revision", "tries")


@call("`hf repos tag create`")
def tag():
    command = (
        ["tag", REPO, "good"] if not HF else ["repos" if VERSION >= (1, 0) else "repo", "tag", "create", REPO, "good"]
    )
    hf(*command)


@call("`hf download` of a snapshot, of a file, by tag")
def download():
    hf("download", REPO, "--revision", "good", "--local-dir", "good")
    same_files("one", "good", FILES)
    found = hf("download", REPO, "docs/notes.md").strip().splitlines()[-1].split("path: ")[-1].split("path=")[-1]
    assert Path(found).read_text() == "notes\n", found
    hf("download", REPO, FILES[2], "--revision", "v1", "--local-dir", "v1")
    assert sha256(Path("v1", FILES[2])) == sha256(Path("one", FILES[2]))


@call("`hf models list`, `hf models info`")
def models():
    if VERSION < (1, 0):
        raise NotInThisClient("it has no `hf models`")
    said = hf("models", "list", "--author", "ada", "--search", REPO.split("/")[1], "--format", "json")
    assert REPO in said, said
    assert "base_model:adapter:pico/llama" in hf("models", "info", REPO)


@call("`hf repos settings`, `delete-files`, `move`, `delete`")
def settings():
    if VERSION < (1, 0):
        raise NotInThisClient("it has no such commands")
    repos("settings", REPO, "--private")
    repos("delete-files", REPO, "docs/notes.md")
    repos("move", REPO, f"lab/{GIVEN['name']}-cli")
    yes = ["--yes"] if "--yes" in repos("delete", "--help") else []
    repos("delete", f"lab/{GIVEN['name']}-cli", *yes)


if __name__ == "__main__":
    run()
