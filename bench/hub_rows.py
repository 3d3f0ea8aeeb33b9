"""A hub of any number of repositories for benchmarks, written by COPY (PostgreSQL) or in bulk (SQLite).

A twentieth is private, one in 200 is in the trash, one in 50 is a generator, one in 50 a dataset. Each has three tags,
a version, a tenth of them two, a revision, and `main`. Bases, tags, licences and owners are chosen as people do: a few
often, most seldom. What the search knows of them is made by the hub's own functions.
"""

import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

TOPICS = (
    "sql dates medical legal poetry chess maths physics chemistry biology cooking travel finance insurance contracts "
    "sentiment summaries translation german french spanish italian japanese korean arabic hindi code python rust java "
    "typescript haskell regex json yaml tables charts news weather sports music films games history geography ethics "
    "philosophy support sales marketing emails chat roleplay stories novels lyrics jokes riddles proofs algebra"
).split()
TASKS = "classify extract answer rewrite explain plan judge rank tag route label merge probe align distil tune".split()
FAMILIES = ("qwen", "llama", "mistral", "gemma", "phi", "smollm", "olmo", "granite", "falcon", "bloom")
LICENSES = ("apache-2.0", "mit", "llama3", "cc-by-4.0", "cc-by-nc-4.0", "gemma", "")
TYPES = ("LORA", "LORA", "LORA", "LORA", "LORA", "LORA", "DORA", "METEORA", "SMORA")
START = datetime(2024, 1, 1, tzinfo=UTC)


def fill(count: int, *, seed: int = 0) -> float:
    """Write that many repositories into the empty, migrated database; seconds that it took."""
    from django.db import connection

    begun = time.perf_counter()
    owners, bases, tags = max(20, count // 400), 300, 2000
    _write("hub_namespace", _namespaces(owners))
    _write("hub_basemodel", _bases(bases))
    _write("hub_repository", _repositories(count, seed, owners, bases))
    _write("hub_repositorytag", _tags(count, seed, tags))
    _write("hub_version", _versions(count))
    _write("hub_revision", _revisions(count))
    _write("hub_ref", _refs(count))
    _enter(count, seed, owners, bases, tags)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for table in ("namespace", "basemodel", "repository", "repositorytag", "version", "revision", "ref"):
                name = f"hub_{table}"
                cursor.execute(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT MAX(id) FROM {name}))")
        cursor.execute("ANALYZE")
    return time.perf_counter() - begun


def _write(table: str, rows: Iterator[dict]) -> None:
    from django.db import connection, transaction

    first = next(rows)
    columns = ", ".join(first)
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in itertools.chain([first], rows):
                    copy.write_row(tuple(row.values()))
            return
        marks = ", ".join(["%s"] * len(first))
        for some in _batches(itertools.chain([first], rows)):
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", [tuple(r.values()) for r in some])


def _batches(rows: Iterable[dict], size: int = 5000) -> Iterator[list[dict]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, size)):
        yield batch


def _few_often(draw: random.Random, count: int) -> int:
    """0 … count-1, the low ones often: the share of k falls as 1 / k."""
    return min(count - 1, int(count ** draw.random()) - 1)


def _namespaces(count: int) -> Iterator[dict]:
    for pk in range(1, count + 1):
        yield {"id": 100_000 + pk, "name": f"org{pk}", "display_name": f"Org {pk}", "created_at": START}


def _bases(count: int) -> Iterator[dict]:
    shapes = {f"model.layers.{layer}.{part}": [4096, 4096] for layer in range(32) for part in "qkvoupd"}
    for pk in range(1, count + 1):
        family = FAMILIES[pk % len(FAMILIES)]
        yield {
            "id": 100_000 + pk,
            "name": f"{family}ai/{family}{pk % 4}-{pk}b",
            "revision": "main",
            "config": json.dumps({"model_type": family, "hidden_size": 4096}),
            "shapes": json.dumps(shapes),
            "fingerprint": f"{pk:064x}",
            "relation": "",
            "license": "",
            "source": "{}",
            "source_by_admin": False,
            "error": "",
            "created_at": START,
        }


def _repositories(count: int, seed: int, owners: int, bases: int) -> Iterator[dict]:
    draw = random.Random(seed)
    for pk in range(1, count + 1):
        topic, task = TOPICS[_few_often(draw, len(TOPICS))], draw.choice(TASKS)
        kind = "dataset" if pk % 50 == 0 else "generator" if pk % 50 == 25 else "adapter"
        base = _few_often(draw, bases) + 1
        at = START + timedelta(seconds=60 * pk)
        yield {
            "id": 100_000 + pk,
            "namespace_id": 100_001 + _few_often(draw, owners),
            "name": f"{FAMILIES[base % len(FAMILIES)]}-{topic}-{task}-{pk}",
            "kind": kind,
            "visibility": "private" if draw.random() < 0.05 else "public",
            "gate": "open",
            "description": f"Rank and file of {topic} to {task}, tuned on {draw.choice(TOPICS)} number {pk % 977}.",
            "created_at": at,
            "updated_at": at + timedelta(days=draw.random() * 30),
            "deleted_at": at if draw.random() < 0.005 else None,
            "base_id": None if kind == "dataset" else 100_000 + base,
            "origin": draw.choice(("uploaded", "uploaded", "uploaded", "merged", "transferred", "trained")),
            "peft_type": draw.choice(TYPES) if kind == "adapter" else "",
            "rank": draw.choice((4, 8, 8, 16, 16, 16, 32, 64)) if kind == "adapter" else None,
            "license": LICENSES[_few_often(draw, len(LICENSES))],
            "size": 1_000_000 + pk,
            "downloads": int(1 / (draw.random() + 1e-6)),
        }


def _tags(count: int, seed: int, tags: int) -> Iterator[dict]:
    draw = random.Random(seed + 1)
    for pk in range(1, count + 1):
        found: set[int] = set()
        while len(found) < 3:
            found.add(_few_often(draw, tags))
        for tag in sorted(found):
            yield {"repository_id": 100_000 + pk, "name": f"{TOPICS[tag % len(TOPICS)]} {tag}"}


def _versions(count: int) -> Iterator[dict]:
    facts = json.dumps({"peft_type": "LORA", "ranks": [16], "modules": [f"layer{n}" for n in range(8)]})
    for pk in range(1, count + 1):
        for number in range(1, 3 if pk % 10 == 0 else 2):
            yield {
                "repository_id": 100_000 + pk,
                "number": number,
                "content_digest": f"{pk:060x}{number:04x}",
                "facts": facts,
                "origin": "uploaded",
                "created_at": START + timedelta(seconds=60 * pk),
            }


def _revisions(count: int) -> Iterator[dict]:
    for pk in range(1, count + 1):
        at = START + timedelta(seconds=60 * pk)
        yield {"id": 100_000 + pk, "repository_id": 100_000 + pk, "oid": f"{pk:040x}", "message": "", "created_at": at}


def _refs(count: int) -> Iterator[dict]:
    for pk in range(1, count + 1):
        yield {
            "repository_id": 100_000 + pk,
            "kind": "branch",
            "name": "main",
            "revision_id": 100_000 + pk,
            "updated_at": START,
        }


def _enter(count: int, seed: int, owners: int, bases: int, tags: int) -> None:
    """What `hub.services.catalogue` would enter, with the rows of the same draws."""
    from django.db import transaction

    from hub.services.catalogue import counts, learn

    words: set[str] = set()
    sums: Counter[tuple[str, str, str]] = Counter()
    _write("hub_searchentry", _entries(count, seed, owners, bases, tags, words, sums))
    for some in _batches(sorted(words)):
        learn(some)
    with transaction.atomic():
        counts.add(sums)


def _entries(
    count: int, seed: int, owners: int, bases: int, tags: int, words: set[str], sums: Counter
) -> Iterator[dict]:
    from hub.models import SearchEntry
    from hub.services.catalogue import fill as fill_entry

    names = {row["id"]: SimpleNamespace(name=row["name"]) for row in _namespaces(owners)}
    models = {row["id"]: _Named(row["name"]) for row in _bases(bases)}
    tagged = _batches(_tags(count, seed, tags), 3)
    for row, three in zip(_repositories(count, seed, owners, bases), tagged, strict=True):
        made = SimpleNamespace(**row, purged_at=None, tags=_Loaded(SimpleNamespace(name=one["name"]) for one in three))
        made.namespace, made.base = names[row["namespace_id"]], models.get(row["base_id"])
        made.full_name = f"{made.namespace.name}/{made.name}"
        entry = SearchEntry(names="", words="", card=f"reads {row['description'][14:].lower()}")
        words |= fill_entry(entry, made, None)
        sums.update((entry.counted_kind, *pair) for pair in entry.counted)
        yield {
            "repository_id": row["id"],
            "names": entry.names,
            "words": entry.words,
            "card": entry.card,
            "counted": json.dumps(entry.counted),
            "counted_kind": entry.counted_kind,
        }


@dataclass
class _Named:
    name: str

    def __str__(self) -> str:
        return self.name


class _Loaded(list):
    """Related rows that are loaded already."""

    def all(self) -> "_Loaded":
        return self


def add_member() -> object:
    """A user who is a member of twenty namespaces, some of them large."""
    from hub.models import Membership, Namespace, Role
    from hub.services import accounts

    user = accounts.create_user(username="member", password="for this benchmark alone", email="member@example.org")
    places = Namespace.objects.filter(name__startswith="org").order_by("pk")[:20]
    Membership.objects.bulk_create(Membership(namespace=place, user=user, role=Role.READER) for place in places)
    return user


def newest() -> str:
    """The path of the adapter that changed last."""
    return _newest().first().path


def make_heavy() -> None:
    """Give the thirty adapters on the first page the facts and the report of 224 modules."""
    from hub.models import Version

    names = [f"model.layers.{layer}.mlp.{part}_proj" for layer in range(32) for part in "qkvoupd"]
    modules = {name: {"shape": [4096, 4096], "rank": 16, "scale": 2.0, "norm": 1.25} for name in names}
    facts = {"peft_type": "LORA", "ranks": [16] * len(names), "modules": modules, "target_modules": names}
    report = {"method": "lego", "summary": {"norm": 3.0}, "modules": {name: [0.25] * 20 for name in names}}
    chosen = [row.pk for row in _newest()[:30]]
    Version.objects.filter(repository__in=chosen).update(facts=facts, report=report)


def _newest() -> object:
    from hub.models import Kind, Repository, Visibility

    rows = Repository.objects.filter(kind=Kind.ADAPTER, visibility=Visibility.PUBLIC, deleted_at=None)
    return rows.select_related("namespace").order_by("-updated_at", "-pk")
