"""A request that works for every kind of job, and the organisation whose adapters, data and generator they name."""

import copy
import json
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import pytest

from hub import access
from hub.models import Origin, Visibility
from hub.services.jobs.request import JobRequest, named_request
from tests.hub import factories
from tests.hub.mixtures import make_mixture
from tests.hub.upkeep.a_hub import made_once

SEEDS = "".join(json.dumps({"prompt": f"{n} + 1 =", "completion": str(n + 1)}) + "\n" for n in range(5))
INDEX = json.dumps({"model.layers.0.self_attn.q_proj": {"in": [0], "out": [0]}})
A, B, TO = "lab/a", "lab/b", "lab/made"
MERGE = {"kind": "lego", "recipe": {"rank": 2}, "inputs": [A, B], "output": TO}
READ = {"kind": "regmean", "inputs": [A, B], "datasets": ["lab/sums", "lab/sums"], "output": TO}
READ |= {"recipe": {"rank": 2, "split": "test"}}
MIX = {"kind": "meteora", "inputs": [A, B], "output": TO}
MOVE = {"kind": "trans-lora", "recipe": {"filter": "none"}, "inputs": [A], "base": "pico/next", "output": TO}
MOVE |= {"files": {"seeds": SEEDS}}
JUDGE = {"kind": "discriminator", "inputs": [A], "files": {"seeds": SEEDS, "real": SEEDS * 4}}
WRITE = {"kind": "generate", "base": "pico/llama", "output": TO, "files": {"context": "The red pump is in room 12."}}
TRAIN = {"kind": "train-generator", "base": "pico/llama", "datasets": ["lab/texts"], "output": TO}
TRAIN |= {"recipe": {"windows": [8], "batch_tokens": 16, "inner": 4, "r": 4, "holdout": 2}}
MEASURE = {"kind": "evaluate", "inputs": [A], "datasets": ["lab/sums"]}
LOST = {"kind": "measure-merge", "inputs": ["lab/ab"], "datasets": ["lab/sums"]}
SEARCH = {"kind": "merge-search", "inputs": [A, B], "datasets": ["lab/sums"], "recipe": {"methods": "svd"}}
ASK = {"kind": "try", "recipe": {"prompt": "a"}, "inputs": [A]}
WEIGH = {"kind": "compare-merges", "recipe": {"rank": 2}, "inputs": [A, B]}
FINE = {
    "lego": MERGE,
    "svd": {**MERGE, "kind": "svd"},
    "cat": {**MERGE, "kind": "cat", "recipe": {}},
    "average": {**MERGE, "kind": "average", "recipe": {}},
    "compare-merges": WEIGH,
    "regmean": READ,
    "lorahub": {**READ, "kind": "lorahub", "datasets": ["lab/sums"]},
    "lora-soups": {**READ, "kind": "lora-soups", "datasets": ["lab/sums"], "recipe": {"split": "test", "steps": 2}},
    "adamerging": {**READ, "kind": "adamerging", "datasets": ["lab/sums"], "recipe": {"split": "test", "steps": 2}},
    "meteora": {**MIX, "recipe": {"train": "prototype"}},
    "smora": {**MIX, "kind": "smora", "datasets": ["lab/sums"], "recipe": {"split": "test"}},
    "trans-lora": MOVE,
    "portllm": {**MOVE, "kind": "portllm", "recipe": {}, "files": {}},
    "cross-lora": {**MOVE, "kind": "cross-lora", "recipe": {}, "files": {}},
    "loram": {**MOVE, "kind": "loram", "recipe": {}, "files": {"index": INDEX}},
    "discriminator": JUDGE,
    "generate": WRITE,
    "train-generator": TRAIN,
    "evaluate": MEASURE,
    "measure-merge": LOST,
    "merge-search": SEARCH,
    "try": ASK,
    "fingerprint": {"kind": "fingerprint", "base": "pico/next"},
}


def make_lab(people, base, folder):
    """Everything that the requests above name, in the organisation `lab`; the people."""
    owner, here = people.owner, {"namespace": people.lab}
    factories.make_base("pico/next")
    factories.make_base("pico/unread", ready=False)
    small = factories.make_base("pico/small")
    small.shapes = {name: [4, 4] for name in small.shapes}
    small.save()
    made = [factories.make_version(owner, name, base=base, seed=n, **here) for n, name in enumerate("ab")]
    factories.make_version(owner, "wide", base=base, rank=8, **here)
    factories.make_version(owner, "secret", base=base, seed=5, visibility=Visibility.PRIVATE, **here)
    far = factories.make_base("pico/far")
    factories.make_version(owner, "far", base=far, base_name="pico/far", **here)
    tensors = factories.adapter_tensors()
    tensors |= {
        name.replace("lora_A.weight", "lora_magnitude_vector"): abs(tensors[name.replace("_A", "_B")]).sum(1)
        for name in list(tensors)
        if "lora_A" in name
    }
    factories.make_version(owner, "dora", base=base, config={"use_dora": True}, tensors=tensors, **here)
    make_mixture(owner, made, folder / "mix", **here)
    merged = {"origin": Origin.MERGED, "recipe": {"kind": "svd", "version": 3, "rank": 2}, "parents": made}
    place = factories.make_repository(owner, "ab", **here)
    factories.publish(owner, place, factories.adapter_files(seed=9, rank=2), base=base, **merged)
    factories.make_generator(owner, base=base, **here)
    rows = {
        "sums": factories.dataset_files(),
        "texts": {"train.jsonl": "".join(json.dumps({"text": f"Pump {n}"}) + "\n" for n in range(40)).encode()},
        "questions": {"train.jsonl": b'{"context": "a", "question": "b", "answer": "c"}\n'},
    }
    for name, files in rows.items():
        repository = factories.make_repository(owner, name, kind="dataset", **here)
        factories.push(owner, repository, files)
    return people


@pytest.fixture(scope="module")
def lab_once(django_db_setup, django_db_blocker, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """People, `base`, and what `make_lab` makes, once a module: for modules of many tests, none with transactions."""
    folder = tmp_path_factory.mktemp("lab")

    def make() -> SimpleNamespace:
        people, base = factories.make_people(), factories.make_base()
        made = make_lab(people, base, folder)
        made.base = base
        return made

    with django_db_blocker.unblock(), made_once(make, folder) as made:
        yield made


@pytest.fixture
def shared_lab(lab_once, db) -> SimpleNamespace:
    """That lab as it was made, whatever an earlier test did: its rows come back by a savepoint, its bytes only grow."""
    return copy.deepcopy(lab_once)


def asked(user, body: dict) -> JobRequest:
    given = dict(body)
    roles = {role: given.pop(role) for role in ("generator", "onto", "without") if role in given}
    return named_request(access.Viewer(user=user), **given, roles=roles)


def own_output(kind: str) -> dict:
    """Where the member may write whatever becomes of the lab."""
    return {"output": "member/made"} if "output" in FINE[kind] else {}


ANYTHING = [A, "lab/ab", "lab/far", "lab/dora", "lab/mix", "lab/sums", "lab/texts", "lab/gen"]


def swept(body: dict, anything: Sequence[str] = ANYTHING) -> Iterator[dict]:
    """The request with every kind of repository in every place, also where it makes no sense."""
    for name in anything:
        for base in (body.get("base"), "pico/next"):
            yield {**body, "inputs": [name], "base": base}
        yield {**body, "inputs": [A, name]}
        yield {**body, "inputs": ["lab/mix", name], "datasets": ["lab/sums"]}
        yield {**body, "datasets": [name]}
        for role in ("generator", "onto", "without"):
            yield {**body, role: name}
