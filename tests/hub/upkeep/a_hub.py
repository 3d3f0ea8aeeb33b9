"""A small hub with something of everything that is kept: what checks, backups and bundles are tried on."""

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings

from hub.models import Blob, Evaluation, Job, ManifestEntry, Repository, Revision, User, Version
from hub.services import audit, refs, repositories, tokens
from hub.services.content import companions
from tests.hub import asking, factories

SEEDS = b'{"prompt": "a", "completion": "b"}\n'


def make_hub() -> SimpleNamespace:
    """Two adapters with a history, a merge of them, a dataset, a generator, jobs, companions, an upload, a token."""
    owner, member = factories.make_user("owner"), factories.make_user("member")
    lab = factories.make_organisation("lab", admin=owner, writer=member)
    base = factories.make_base()
    card = "---\nlicense: mit\ntags: [news]\n---\n# An adapter\n"
    first = factories.make_version(owner, "first", base=base, namespace=lab, card=card)
    repository = first.repository
    second = factories.push(owner, repository, factories.adapter_files(seed=2, card=card)).version
    factories.push(member, repository, {"README.md": (card + "More.\n").encode()}, branch="words")
    refs.set_tag(actor=owner, repository=repository, name="best", revision=first.revisions.first())
    other = factories.make_version(owner, "other", base=base, namespace=lab, visibility="private", seed=7)
    rows = factories.make_repository(owner, "sums", namespace=lab, kind="dataset")
    dataset = factories.publish(owner, rows, factories.dataset_files()).version
    generator = factories.make_generator(owner, "gen", base=base)
    merged = factories.make_repository(member, "merged", namespace=lab, visibility="private")
    recipe = {"kind": "lego", "version": 1, "rank": 4}
    made = factories.publish(
        member, merged, factories.adapter_files(seed=9), parents=[second, other], origin="merged", recipe=recipe
    ).version
    companions.add_companion(actor=owner, repository=repository, kind="seeds", name="s.jsonl", stream=io.BytesIO(SEEDS))
    lego = {"actor": member, "kind": "lego", "recipe": {"rank": 2}, "inputs": [first, second]}
    job = asking.queue_job(**lego, output=("lab", "later"))
    done = asking.queue_job(**lego, output=("lab", "merged"))
    now = done.created_at
    Job.objects.filter(pk=done.pk).update(
        state="done", attempt=1, started_at=now, finished_at=now, output=merged, result=made
    )
    record_one(owner, first, dataset, base)
    upload = factories.begin(owner, repository, factories.adapter_files(seed=20))
    trash = factories.make_repository(owner, "thrown", namespace=lab)
    repositories.delete_repository(actor=owner, repository=trash)
    secret = tokens.create_token(actor=member, name="program")[1]
    audit.record(owner, "repository.create", repository)
    return SimpleNamespace(
        owner=owner, member=member, lab=lab, base=base, repository=repository, first=first, second=second, other=other,
        dataset=dataset, generator=generator, merged=made, job=job, done=done, upload=upload, secret=secret,
    )  # fmt: skip


@contextmanager
def made_once(make: Callable[[], SimpleNamespace], folder: Path) -> Iterator[SimpleNamespace]:
    """What `make` makes, its bytes below `folder`, in a transaction that is undone at the end."""
    storage = {**settings.STORAGES["blobs"], "OPTIONS": {"location": str(folder / "blobs")}}
    here = override_settings(
        STORAGES={**settings.STORAGES, "blobs": storage}, UPLOAD_FOLDER=folder / "uploads", HUB_DATA=folder
    )
    with here, transaction.atomic():
        made = make()
        made.folder = folder
        yield made
        transaction.set_rollback(True)


@contextmanager
def copied(made: SimpleNamespace, store: Path) -> Iterator[None]:
    """Its bytes copied into the test's store, and its rows inside a savepoint."""
    shutil.copytree(made.folder / "blobs", store / "blobs")
    made.store = store
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def record_one(owner, version, dataset, base) -> Evaluation:
    """A measured evaluation, as a worker's job leaves it."""
    return Evaluation.objects.create(
        version=version,
        base=base,
        dataset=dataset,
        dataset_digest=dataset.content_digest,
        split="test",
        metrics={"accuracy": 0.5},
        rows=4,
        device="cpu",
        seconds=1.0,
        created_by=owner,
    )


def bytes_of(store: Path, sha256: str) -> Path:
    """Where the test's store keeps a blob."""
    return store / "blobs" / sha256[:2] / sha256[2:4] / sha256


def lose_everything(store: Path) -> None:
    """An empty hub, as after a fire."""
    call_command("flush", interactive=False, verbosity=0)
    shutil.rmtree(store / "blobs", ignore_errors=True)
    shutil.rmtree(store / "uploads", ignore_errors=True)


def rows() -> dict[str, list[str]]:
    """Every table's rows as text, to compare."""
    found = {}
    for model in (User, Repository, Revision, ManifestEntry, Version, Job, Blob):
        found[model.__name__] = [repr(row) for row in model.objects.order_by("pk").values_list()]
    return found


def damage(path: Path) -> None:
    """Change one bit."""
    path.chmod(0o600)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
