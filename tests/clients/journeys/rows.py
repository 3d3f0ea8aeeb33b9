"""datasets: rows of a dataset repository, read and pushed."""

from datasets import Dataset, load_dataset
from huggingface_hub import HfApi

from tests.clients.journeys.calls import GIVEN, call, run

REPO = f"ada/{GIVEN['name']}-rows"
LINE = b'{"prompt": "1 + 1 =", "completion": " 2"}\n'
api = HfApi()


@call("datasets: `load_dataset`, by tag, streamed")
def load():
    api.create_repo(REPO, repo_type="dataset")
    api.upload_file(repo_id=REPO, path_or_fileobj=LINE * 3, path_in_repo="train.jsonl", repo_type="dataset")
    api.create_tag(REPO, tag="three", repo_type="dataset")
    api.upload_file(repo_id=REPO, path_or_fileobj=LINE * 5, path_in_repo="train.jsonl", repo_type="dataset")
    assert load_dataset(REPO, split="train")[4] == {"prompt": "1 + 1 =", "completion": " 2"}
    assert len(load_dataset(REPO, split="train", revision="three")) == 3
    assert len(list(load_dataset(REPO, split="train", streaming=True))) == 5


@call("datasets: `Dataset.push_to_hub`")
def push():
    Dataset.from_list([{"prompt": str(n), "completion": "b"} for n in range(4)]).push_to_hub(f"{REPO}-pushed")
    assert load_dataset(f"{REPO}-pushed", split="train")["prompt"] == ["0", "1", "2", "3"]


if __name__ == "__main__":
    run()
