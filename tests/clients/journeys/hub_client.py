"""huggingface_hub: sign in, make, push, tag, branch, look, pull, change, propose, move, delete."""

import inspect
import io
from pathlib import Path

import huggingface_hub
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    ModelCard,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.utils import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from tests.clients.journeys import folders
from tests.clients.journeys.calls import GIVEN, NotInThisClient, call, needs, raised, run, same_files, sha256

REPO = f"ada/{GIVEN['name']}"
FILES = ["README.md", "adapter_config.json", "adapter_model.safetensors"]
api, bob = HfApi(token=GIVEN["ada"]), HfApi(token=GIVEN["bob"])
seen = {}


@call("`login`, `whoami`")
def login():
    assert raised(Exception, HfApi(token="ah_" + 40 * "x").whoami).response.status_code == 401
    huggingface_hub.login(GIVEN["ada"])
    assert huggingface_hub.whoami()["name"] == "ada"
    assert [row["name"] for row in api.whoami()["orgs"]] == ["lab"]


@call("`create_repo`, `repo_exists`")
def create():
    assert not api.repo_exists(REPO)
    made = api.create_repo(REPO, private=True)
    assert made.repo_id == REPO and made.endpoint == GIVEN["url"], made
    assert raised(HfHubHTTPError, api.create_repo, REPO).response.status_code == 409
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    assert api.repo_exists(REPO) and not bob.repo_exists(REPO)
    raised(RepositoryNotFoundError, bob.model_info, REPO)


@call("`update_repo_settings`")
def settings():
    needs(api, "update_repo_settings")
    api.update_repo_settings(REPO, private=False)
    assert api.model_info(REPO).private is False
    assert bob.repo_exists(REPO)


@call("`upload_folder`")
def upload_folder():
    folder = folders.adapter("one", seed=1)
    done = api.upload_folder(repo_id=REPO, folder_path=folder, commit_message="First")
    assert done.oid == api.model_info(REPO).sha and GIVEN["url"] in done.commit_url
    assert set(FILES) <= set(api.list_repo_files(REPO))
    seen["v1"] = done.oid


@call("`upload_folder`, 72 MB of weights")
def upload_wide():
    if not GIVEN.get("wide"):
        raise NotInThisClient("not asked for")
    api.create_repo(f"{REPO}-wide")
    api.upload_folder(repo_id=f"{REPO}-wide", folder_path=folders.wide_adapter("wide"))
    same_files("wide", snapshot_download(f"{REPO}-wide", token=GIVEN["ada"]), FILES)


@call("`upload_large_folder`")
def upload_large_folder():
    needs(api, "upload_large_folder")
    folder = folders.wide_adapter("large", seed=2) if GIVEN.get("wide") else folders.adapter("large", seed=2)
    huggingface_hub.upload_large_folder(repo_id=f"{REPO}-large", folder_path=folder, repo_type="model", num_workers=2)
    same_files("large", api.snapshot_download(f"{REPO}-large", local_dir="large-back"), FILES)


@call("`upload_file`")
def upload_file():
    before = api.model_info(REPO).sha
    api.upload_file(repo_id=REPO, path_or_fileobj=b"notes\n", path_in_repo="docs/notes.md")
    api.upload_file(repo_id=REPO, path_or_fileobj=folders.adapter("two", seed=2) / FILES[2], path_in_repo=FILES[2])
    after = api.model_info(REPO).sha
    assert after != before
    again = api.upload_file(repo_id=REPO, path_or_fileobj="two/" + FILES[2], path_in_repo=FILES[2])
    assert again.oid == api.model_info(REPO).sha
    seen["v2"] = after


@call("`upload_file` of an open file")
def upload_open_file():
    api.upload_file(repo_id=REPO, path_or_fileobj=io.BytesIO(bytes(range(256)) * 300), path_in_repo="docs/plot.bin")
    assert api.get_paths_info(REPO, ["docs/plot.bin"])[0].size == 76800


@call("`create_commit` with adds, copies, deletions; a stale parent")
def create_commit():
    head = api.model_info(REPO).sha
    adds = [CommitOperationAdd(f"docs/{n}.txt", str(n).encode()) for n in range(3)]
    api.create_commit(REPO, adds, commit_message="Add", parent_commit=head)
    late = [CommitOperationAdd("docs/late.txt", b"late")]
    stale = raised(HfHubHTTPError, api.create_commit, REPO, late, commit_message="No", parent_commit=head)
    assert stale.response.status_code == 412, stale
    copy, drop = CommitOperationCopy("docs/plot.bin", "copies/plot.bin"), CommitOperationDelete("docs/0.txt")
    api.create_commit(REPO, [copy, drop], commit_message="Copy")
    copied = api.get_paths_info(REPO, ["copies/plot.bin", "docs/0.txt", "docs/plot.bin"])
    assert [row.lfs.size for row in copied] == [76800, 76800] and copied[0].blob_id == copied[1].blob_id
    api.delete_folder("copies", REPO)


@call("`create_tag`, `delete_tag`, `list_repo_refs`")
def tags():
    api.create_tag(REPO, tag="production", revision=seen["v1"], tag_message="Good")
    assert raised(HfHubHTTPError, api.create_tag, REPO, tag="production").response.status_code == 409
    refs = {row.name: row.target_commit for row in api.list_repo_refs(REPO).tags}
    assert refs["production"] == refs["v1"] == seen["v1"] and refs["v2"] == seen["v2"], (refs, seen)
    api.create_tag(REPO, tag="spare")
    api.delete_tag(REPO, tag="spare")
    assert "spare" not in [row.name for row in api.list_repo_refs(REPO).tags]


@call("`create_branch`, a push to it, `delete_branch`")
def branches():
    api.create_branch(REPO, branch="tries/hot", revision="v1")
    api.upload_file(repo_id=REPO, path_or_fileobj=b"hot\n", path_in_repo="hot.md", revision="tries/hot")
    assert "hot.md" in api.list_repo_files(REPO, revision="tries/hot")
    assert "hot.md" not in api.list_repo_files(REPO)
    raised(RevisionNotFoundError, api.list_repo_files, REPO, revision="gone")
    api.create_branch(REPO, branch="spare")
    api.delete_branch(REPO, branch="spare")
    assert {row.name for row in api.list_repo_refs(REPO).branches} == {"main", "tries/hot"}


@call("`model_info`, `list_repo_tree`, `get_paths_info`, `list_repo_commits`")
def info():
    found = api.model_info(REPO, files_metadata=True)
    weights = next(row for row in found.siblings if row.rfilename == FILES[2])
    assert weights.lfs["sha256"] == sha256("two/" + FILES[2]) and weights.size == Path("two", FILES[2]).stat().st_size
    assert found.card_data.license == "mit" and "base_model:adapter:pico/llama" in found.tags, found.tags
    tree = {row.path: row for row in api.list_repo_tree(REPO, recursive=True, expand=True)}
    assert tree[FILES[2]].lfs.sha256 == weights.lfs["sha256"] and "docs" in tree and tree["docs/1.txt"].last_commit
    assert [row.title for row in api.list_repo_commits(REPO)][-2:] == ["First", "initial commit"]


@call("`list_models` with filters and pages")
def listing():
    for n in range(3):
        api.create_repo(f"lab/{GIVEN['name']}-{n}", exist_ok=True)
    names = [row.id for row in bob.list_models(author="lab", search=GIVEN["name"], limit=3)]
    assert len(names) == 3, names
    found = [row.id for row in bob.list_models(filter="base_model:adapter:pico/llama", search=GIVEN["name"])]
    assert REPO in found and not any(name.startswith("lab/") for name in found), found
    paged = {
        row.id
        for row in huggingface_hub.utils.paginate(
            f"{GIVEN['url']}/api/models", params={"search": GIVEN["name"], "limit": 1}, headers={}
        )
        for row in [huggingface_hub.hf_api.ModelInfo(**row)]
    }
    assert {REPO, *names} <= paged, paged


@call("`snapshot_download` by tag, branch and commit")
def snapshot():
    for revision, folder in (("v1", "one"), (seen["v1"], "one"), ("v2", "two"), ("tries/hot", "one")):
        pulled = snapshot_download(REPO, revision=revision)
        assert sha256(Path(pulled, FILES[2])) == sha256(Path(folder, FILES[2])), revision
    assert Path(snapshot_download(REPO, revision="v1")).name == seen["v1"]
    same_files("one", snapshot_download(REPO, revision="v1", local_dir="v1"), FILES)


@call("`hf_hub_download`, `file_exists`")
def one_file():
    assert Path(hf_hub_download(REPO, "notes.md", subfolder="docs")).read_text() == "notes\n"
    assert api.file_exists(REPO, "docs/notes.md") and not api.file_exists(REPO, "docs/notes.md", revision="v1")
    raised(EntryNotFoundError, hf_hub_download, REPO, "gone.md")
    raised(RevisionNotFoundError, hf_hub_download, REPO, FILES[0], revision="gone")
    assert sha256(hf_hub_download(REPO, FILES[2], revision=seen["v1"][:8])) == sha256("one/" + FILES[2])


@call("`HfFileSystem`: ls, read, write")
def file_system():
    files = HfFileSystem(token=GIVEN["ada"])
    with files.open(f"{REPO}/docs/fs.txt", "w") as file:
        file.write("by fsspec")
    assert f"{REPO}/docs/fs.txt" in files.ls(f"{REPO}/docs", detail=False, refresh=True)
    assert files.cat(f"{REPO}@main/docs/fs.txt") == b"by fsspec"
    with files.open(f"{REPO}/{FILES[2]}", "rb") as file:
        file.seek(8)
        assert file.read(20) == Path("two", FILES[2]).read_bytes()[8:28]


@call("`ModelCard.load`, `push_to_hub`")
def card():
    found = ModelCard.load(REPO)
    assert found.data.license == "mit" and "# Dates" in found.text
    found.data.license = "apache-2.0"
    if "https://huggingface.co/api/validate-yaml" in inspect.getsource(huggingface_hub.RepoCard.validate):
        raise NotInThisClient("it has huggingface.co check the card, whatever HF_ENDPOINT says")
    found.push_to_hub(REPO, commit_message="Licence")
    assert api.model_info(REPO).card_data.license == "apache-2.0"
    assert {row.name for row in api.list_repo_refs(REPO).tags} == {"production", "latest", "v1", "v2"}


@call("`delete_file`, `delete_folder`")
def deleting():
    api.delete_file("docs/1.txt", REPO)
    api.delete_folder("docs", REPO)
    assert not [name for name in api.list_repo_files(REPO) if name.startswith("docs/")]
    assert "docs/notes.md" in api.list_repo_files(REPO, revision=seen["v2"])


@call("`upload_file(create_pr=True)`, `merge_pull_request`")
def proposing():
    made = bob.upload_file(repo_id=REPO, path_or_fileobj=b"x", path_in_repo="x.md", create_pr=True)
    assert made.pr_revision == "refs/pr/1", made
    assert "x.md" in api.list_repo_files(REPO, revision="refs/pr/1") and "x.md" not in api.list_repo_files(REPO)
    assert raised(HfHubHTTPError, bob.upload_file, repo_id=REPO, path_or_fileobj=b"y", path_in_repo="y.md")
    api.merge_pull_request(REPO, 1)
    assert "x.md" in api.list_repo_files(REPO)


@call("`super_squash_history`")
def squashing():
    api.super_squash_history(REPO, branch="tries/hot", commit_message="One")
    assert [row.title for row in api.list_repo_commits(REPO, revision="tries/hot")] == ["One"]


@call("datasets: `create_repo`, `upload_folder`, `dataset_info`, `snapshot_download`")
def datasets():
    Path("rows").mkdir(exist_ok=True)
    Path("rows/train.jsonl").write_text('{"prompt": "1 + 1 =", "completion": " 2"}\n')
    api.create_repo(REPO, repo_type="dataset")
    api.upload_folder(repo_id=REPO, folder_path="rows", repo_type="dataset")
    assert api.dataset_info(REPO).id == REPO and api.model_info(REPO).id == REPO
    assert REPO in [row.id for row in api.list_datasets(author="ada", search=GIVEN["name"])]
    same_files("rows", snapshot_download(REPO, repo_type="dataset"), ["train.jsonl"])


@call("`move_repo`; the old name leads on")
def moving():
    new = f"lab/{GIVEN['name']}-moved"
    api.move_repo(REPO, new)
    assert api.model_info(REPO).id == new
    assert sha256(hf_hub_download(REPO, FILES[2], revision="v1", local_dir="moved")) == sha256("one/" + FILES[2])
    api.move_repo(new, REPO)
    assert api.model_info(new).id == REPO


@call("`delete_repo`")
def delete():
    assert raised(HfHubHTTPError, bob.delete_repo, REPO).response.status_code in (403, 404)
    api.delete_repo(REPO)
    assert not api.repo_exists(REPO) and api.repo_exists(REPO, repo_type="dataset")
    api.delete_repo(REPO, missing_ok=True)


if __name__ == "__main__":
    run()
