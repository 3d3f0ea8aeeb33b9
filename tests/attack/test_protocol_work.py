"""What a stranger's commit makes the hub do is bounded: patterns of `.gitattributes`, operations, preuploads.

Each of these once took minutes of a processor for one request.
"""

import random
import time
from contextlib import contextmanager

import pytest

from hub.errors import NotFound
from hub.hf.views import lfs
from hub.services import quotas
from hub.services.commits.attributes import parse, stored_as_lfs
from hub.services.commits.operations import Delete, Put, effect_of
from hub.services.content.manifest import Entry
from tests.hub.hf.wire import Hf

ONE = Entry("0" * 64, 1)
DEEP = "/".join("a" * 512)
NAME = "a" * 255
HOSTILE = {
    "one part after another": (f"**/{'/'.join('a' * 60)}/b", DEEP),
    "any folder again and again": ("**/a/" * 50 + "b", DEEP),
    "stars in a name": ("*a" * 120 + "b", NAME),
    "stars in every folder": ("/".join(["*a*a*b"] * 30), "/".join(["a" * 40] * 25)),
    "an open bracket": ("[" * 250, NAME),
    "a path of megabytes": ("*a*b", "a" * 3_000_000),
}


@contextmanager
def soon(seconds: float = 2.0):
    """Fails where it took more of the processor; what this guards against takes minutes."""
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds


@pytest.mark.parametrize(("pattern", "path"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_patterns_cost_little(pattern, path):
    rules = parse(f"{pattern} filter=lfs\n".encode() * 500)
    with soon():
        assert not any(stored_as_lfs(f"{path}{number}", 1, rules) for number in range(20))


def test_patterns_mean_what_git_says():
    rules = parse(
        b"*.bin filter=lfs\n/top.txt filter=lfs\nwas/**/x?.[ab] filter=lfs\n**/deep/** filter=lfs\n*.bin.md -filter\n"
    )
    lfs = ["a.bin", "a/b/c.bin", "top.txt", "was/x1.a", "was/here/and/x2.b", "deep/a", "a/deep/b/c"]
    other = ["a.bin.md", "a/top.txt", "was/x1.c", "here/was/x1.a", "deep", "a/deep", "A.BIN"]
    assert [path for path in [*lfs, *other] if stored_as_lfs(path, 1, rules)] == lfs


def test_many_operations_cost_little():
    names = [f"f{number % 50}/{number}" for number in range(10_000)]
    puts = [Put(path=path, sha256=ONE.sha256) for path in names]
    with soon(3.0):
        found = effect_of([*puts, *(Delete(path=path) for path in names[50:])], {}, {ONE.sha256: ONE})
        assert sorted(found.files) == sorted(names[:50])
    with soon(3.0):
        folders = [Delete(path=f"f{number}", folder=True) for number in range(50)]
        assert not effect_of([*puts, *folders], {}, {ONE.sha256: ONE}).files


@pytest.mark.parametrize("seed", range(40))
def test_operations_do_what_a_plain_reading_of_them_does(seed):
    choose = random.Random(seed)
    paths = ["a", "a/b", "a/c", "a-", "a0", "ab/c", "b", "a/b/c"]
    before = dict.fromkeys(choose.sample(paths, 4), ONE)
    operations, there = [], dict(before)
    for _ in range(6):
        path = choose.choice([*paths, "", "a/"])
        folder = choose.random() < 0.5
        if path and not path.endswith("/") and choose.random() < 0.5:
            operations.append(Put(path=path, sha256=ONE.sha256))
            there[path] = ONE
            continue
        plain = path.strip("/")
        gone = (
            [plain] if plain in there and not folder else [p for p in there if not plain or p.startswith(f"{plain}/")]
        )
        operations.append(Delete(path=path, folder=folder))
        if not gone:
            with pytest.raises(NotFound):
                effect_of(operations, before, {ONE.sha256: ONE})
            return
        for one in gone:
            del there[one]
    found = effect_of(operations, before, {ONE.sha256: ONE})
    assert {path for path in before if path not in found.deletions} | set(found.files) == set(there)


@pytest.mark.django_db
def test_a_preupload_of_hostile_paths_and_patterns_is_answered_soon(people, repository, store):
    hf = Hf(people.owner, repository)
    files = [{"path": f"{DEEP[:999]}/{number}", "size": 1, "sample": ""} for number in range(200)]
    with soon(10.0):
        answer = hf.post("/preupload/main", {"files": files, "gitIgnore": "**/a/a/a/*b*b*b\n" * 4000})
    assert answer.status_code == 200, answer.content[:300]
    with soon(10.0):
        huge = {"files": [{"path": "a" * 3_000_000, "size": 1, "sample": ""}], "gitIgnore": "*a*a*a*a*b\n" * 4000}
        assert hf.post("/preupload/main", huge).status_code == 422


def batch(hf: Hf, sizes: list[int]):
    objects = [{"oid": f"{number:064x}", "size": size} for number, size in enumerate(sizes)]
    told = {"operation": "upload", "transfers": ["multipart", "basic"], "objects": objects}
    address = "/lab/sentiment.git/info/lfs/objects/batch"
    return hf.http.post(address, told, content_type="application/json", headers=hf.headers)


@pytest.mark.django_db
def test_a_batch_of_lfs_files_asks_few_questions_whatever_its_length(
    people, repository, store, django_assert_max_num_queries
):
    hf = Hf(people.owner, repository)
    assert batch(hf, [5]).status_code == 200
    with django_assert_max_num_queries(40):
        assert len(batch(hf, [5] * 500).json()["objects"]) == 500


@pytest.mark.django_db
def test_a_batch_is_refused_by_what_its_files_are_together(people, root, repository, store, monkeypatch):
    hf = Hf(people.owner, repository)
    monkeypatch.setattr(lfs, "MOST_PARTS", 20)
    shown = batch(hf, [10 * lfs.PART] * 2).json()
    assert shown["transfer"] == "multipart" and shown["objects"][1]["actions"]["upload"]["header"]["chunk_size"]
    assert batch(hf, [10 * lfs.PART] * 2 + [1]).json()["transfer"] == "basic"
    quotas.set_quota(actor=root, user=people.owner, staged_bytes=1000)
    assert batch(hf, [400, 400]).status_code == 200
    assert batch(hf, [400, 400, 400]).status_code >= 400
