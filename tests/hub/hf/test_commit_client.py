"""huggingface_hub itself, as it is installed, commits: what a trainer pushes becomes a version, and hears our words."""

import pytest

from hub.models import Repository, Version
from hub.services import tokens
from tests.hub import factories
from tests.hub.hf import client

pytestmark = pytest.mark.django_db(transaction=True)

SCRIPT = """
import logging, os, pathlib, warnings
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, ModelCard
from huggingface_hub.errors import BadRequestError, EntryNotFoundError, HfHubHTTPError

api, folder = HfApi(), pathlib.Path(os.environ["FOLDER"])
api.create_repo("lab/sums")
heard = []
class Hear(logging.Handler):
    def emit(self, record):
        heard.append(record.getMessage())
logging.getLogger("huggingface_hub").addHandler(Hear())

api.upload_file(repo_id="lab/sums", path_or_fileobj=folder / "adapter_config.json", path_in_repo="adapter_config.json")
said["partial"] = [line for line in heard if "no version yet" in line]
done = api.upload_folder(repo_id="lab/sums", folder_path=folder, commit_message="weights", ignore_patterns="*.bin")
said["files"] = sorted(api.list_repo_files("lab/sums"))
said["left out"] = any("optimizer.pt" in line for line in heard)
said["tags"] = sorted(tag.name for tag in api.list_repo_refs("lab/sums").tags)
try:
    api.upload_file(repo_id="lab/sums", path_or_fileobj=folder / "adapter_model.bin", path_in_repo="adapter_model.bin")
except HfHubHTTPError as error:
    said["refused"] = "as_safetensors" in str(error)
try:
    api.create_commit("lab/sums", [CommitOperationDelete("README.md")], commit_message="x", parent_commit="0" * 40)
except HfHubHTTPError as error:
    said["moved"] = error.response.status_code
try:
    api.delete_file("nothing.txt", "lab/sums")
except EntryNotFoundError as error:
    said["missing"] = "doesn't exist" in str(error)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ModelCard("---\\nlicense: mit\\nbase_model: pico/nobody\\n---\\n# Sums\\n").push_to_hub("lab/sums")
said["warned"] = any("pico/nobody" in str(one.message) for one in caught)
try:
    ModelCard("---\\nlicense: mine\\n---\\n# Sums\\n").push_to_hub("lab/sums")
except ValueError as error:
    said["licence"] = "must be one of" in str(error)
api.create_commit("lab/sums", commit_message="copies", operations=[
    CommitOperationCopy("adapter_model.safetensors", "kept/adapter.bin.copy"), CommitOperationAdd("a b?.txt", b"x"),
])
api.create_repo("ada/copy")
api.create_commit("ada/copy", commit_message="from another", operations=[
    CommitOperationCopy("README.md", "README.md", src_repo_id="lab/sums", src_repo_type="model"),
])
said["lfs"] = sorted(file.filename for file in api.list_lfs_files("lab/sums"))
api.delete_folder("kept", "lab/sums")
api.super_squash_history("lab/sums")
said["commits"] = len(api.list_repo_commits("lab/sums"))
said["end"] = sorted(api.list_repo_files("lab/sums"))
"""


def test_a_trainer_s_pushes(live_server, tmp_path, store):
    ada = factories.make_user("ada")
    factories.make_organisation("lab", admin=ada)
    factories.make_base()
    folder = tmp_path / "out"
    leftovers = {"optimizer.pt": b"PK\x03\x04", "adapter_model.bin": b"\x80\x02}q\x00."}
    for path, data in {**factories.adapter_files(card="# Sums\n"), **leftovers}.items():
        folder.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    token = tokens.create_token(actor=ada, scopes=["read", "write", "admin"], name="t")[1]
    said = client.run(
        SCRIPT, endpoint=live_server.url, home=tmp_path, token=token, FOLDER=str(folder), HF_HUB_DISABLE_XET="1"
    )
    files = [".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert len(said.pop("partial")) == 1
    assert said == {
        "files": files,
        "left out": True,
        "tags": ["latest", "v1"],
        "refused": True,
        "moved": 412,
        "missing": True,
        "warned": True,
        "licence": True,
        "lfs": ["adapter_model.safetensors"],
        "commits": 1,
        "end": [".gitattributes", "README.md", "a b?.txt", *files[2:]],
    }
    assert Version.objects.count() == 1
    assert Repository.objects.get(name="sums").license == "mit"
