"""huggingface_hub itself, as it is installed, proposes, merges and asks for files; in a process of its own."""

import pytest

from hub.models import Repository, Version
from hub.services import tokens
from tests.hub import factories
from tests.hub.hf import client

pytestmark = pytest.mark.django_db(transaction=True)

SCRIPT = """
import os
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

lab, ada = HfApi(token=os.environ["LAB"]), HfApi(token=os.environ["ADA"])
made = ada.upload_file(
    repo_id="lab/sums", path_or_fileobj=b"# Better", path_in_repo="README.md", create_pr=True,
    commit_message="A better card", commit_description="It says more.",
)
said["pr"] = [made.pr_num, made.pr_revision, made.pr_url]
ada.upload_file(repo_id="lab/sums", path_or_fileobj=b"x", path_in_repo="notes.md", revision="refs/pr/1")
said["listed"] = [(row.num, row.title, row.status, row.author, row.is_pull_request)
                  for row in lab.get_repo_discussions("lab/sums")]
said["before"] = sorted(lab.list_repo_files("lab/sums"))
said["proposed"] = sorted(lab.list_repo_files("lab/sums", revision="refs/pr/1"))
details = lab.get_discussion_details("lab/sums", 1)
said["details"] = [details.target_branch, details.conflicting_files, [event.type for event in details.events]]
said["diff"] = "+# Better" in details.diff
said["renamed"] = ada.rename_discussion("lab/sums", 1, "Better").new_title
said["closed"] = ada.change_discussion_status("lab/sums", 1, "closed").new_status
said["open"] = lab.change_discussion_status("lab/sums", 1, "open").new_status
try:
    ada.merge_pull_request("lab/sums", 1)
except HfHubHTTPError as error:
    said["refused"] = error.response.status_code
lab.merge_pull_request("lab/sums", 1)
said["merged"] = lab.get_discussion_details("lab/sums", 1).merge_commit_oid == lab.model_info("lab/sums").sha
said["after"] = sorted(lab.list_repo_files("lab/sums"))
said["bare"] = lab.create_pull_request("lab/sums", title="Later").num

lab.update_repo_settings("lab/sums", gated="manual")
try:
    ada.hf_hub_download("lab/sums", "README.md", local_dir=os.environ["HF_HOME"] + "/one")
except GatedRepoError as error:
    said["gated"] = "restricted and you are not in the authorized list" in str(error)
said["info"] = ada.model_info("lab/sums").gated
lab.grant_access("lab/sums", "ada")
said["accepted"] = [row.username for row in lab.list_accepted_access_requests("lab/sums")]
said["card"] = open(ada.hf_hub_download("lab/sums", "README.md", local_dir=os.environ["HF_HOME"] + "/two")).read()
"""


def test_the_client_proposes_merges_and_is_let_in(live_server, tmp_path, store):
    owner, ada = factories.make_user("owner"), factories.make_user("ada")
    lab = factories.make_organisation("lab", admin=owner)
    factories.make_base()
    factories.make_version(owner, "sums", namespace=lab)
    every = {"scopes": ["read", "write", "admin"], "name": "t"}
    words = {"LAB": tokens.create_token(actor=owner, **every)[1], "ADA": tokens.create_token(actor=ada, **every)[1]}
    said = client.run(SCRIPT, endpoint=live_server.url, home=tmp_path, HF_HUB_DISABLE_XET="1", **words)
    files = ["adapter_config.json", "adapter_model.safetensors"]
    assert said == {
        "pr": [1, "refs/pr/1", f"{live_server.url}/lab/sums/discussions/1"],
        "listed": [[1, "A better card", "open", "ada", True]],
        "before": files,
        "proposed": ["README.md", *files, "notes.md"],
        "details": ["refs/heads/main", [], ["comment", "commit", "commit"]],
        "diff": True,
        "renamed": "Better",
        "closed": "closed",
        "open": "open",
        "refused": 403,
        "merged": True,
        "after": ["README.md", *files, "notes.md"],
        "bare": 2,
        "gated": True,
        "info": "manual",
        "accepted": ["ada"],
        "card": "# Better",
    }
    assert Version.objects.count() == 1
    assert Repository.objects.get().gate == "manual"
