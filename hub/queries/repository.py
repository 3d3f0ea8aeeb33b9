"""What belongs to repositories: their newest versions, files, refs, companions and tags; `finding` has the lists.

What `tags` shows of a repository to clients of the Hugging Face protocol, `tagged` finds. Some come from the newest
version (`peft`, `base_model:adapter:org/name`), some from the card: its own tags, and its words by their key
(`dataset:lab/sums`) or plain (`en`).
"""

from collections.abc import Collection, Iterable, Sequence

from django.db.models import Max, OuterRef, Q, QuerySet, Subquery, prefetch_related_objects
from django.db.models.fields.json import KeyTransform

from hub import access
from hub.access import Viewer, visible
from hub.errors import NotFound
from hub.models import (
    BaseModel,
    Blob,
    CardWord,
    Companion,
    Kind,
    ManifestEntry,
    Ref,
    RefKind,
    Repository,
    RepositoryTag,
    Revision,
    Version,
    fold,
    heavy,
)


def all_words(rows: QuerySet[Repository]) -> QuerySet[Repository]:
    """With tags and the card's words loaded, in two more queries."""
    return rows.prefetch_related("tags", "words")


def with_words(row: Repository) -> Repository:
    """The same of one."""
    prefetch_related_objects([row], "tags", "words")
    return row


def seen(viewer: Viewer, repositories: Iterable[int]) -> set[int]:
    """Of these repositories' ids, those the viewer may see."""
    return set(Repository.objects.filter(visible(viewer), pk__in=set(repositories)).values_list("pk", flat=True))


def trash(viewer: Viewer) -> QuerySet[Repository]:
    """Deleted repositories of the namespaces this viewer is admin of."""
    admin_of = access.require_user(viewer).memberships.filter(role="admin").values("namespace")
    deleted = Repository.objects.listed().filter(deleted_at__isnull=False, purged_at=None)
    if viewer.limit:
        deleted = deleted.filter(viewer.limit.covered())
    return deleted.filter(namespace__in=admin_of).order_by("-deleted_at", "-pk")


def latest_versions(
    found: Sequence[Repository], *, facts: Collection[str] = (), whole: bool = False
) -> dict[int, Version]:
    """Repository id → its newest version, in one query, without what no list shows.

    `facts` names those that are wanted, and the versions have these alone; `whole` loads all of the facts.
    """
    newest = Version.objects.filter(repository=OuterRef("repository")).order_by("-number").values("pk")[:1]
    rows = Version.objects.listed().filter(repository__in=[r.pk for r in found], pk=Subquery(newest))
    if whole:
        rows = rows.defer(None).defer(*heavy(base="base__"), "recipe", "report", "environment")
    rows = rows.annotate(**{f"fact_{name}": KeyTransform(name, "facts") for name in facts})
    versions = {row.repository_id: row for row in rows}
    for row in versions.values() if facts else ():
        said = {name: getattr(row, f"fact_{name}") for name in facts}
        row.facts = {name: value for name, value in said.items() if value is not None}
    return versions


def with_newest(found: QuerySet[Repository]) -> QuerySet[Repository]:
    """With `newest`, the number of the newest version."""
    versions = Version.objects.filter(repository=OuterRef("pk")).order_by("-number")
    return found.annotate(newest=Subquery(versions.values("number")[:1]))


def newest_numbers(found: Sequence[int]) -> dict[int, int]:
    """Repository id → the number of its newest version, of these ids."""
    rows = Version.objects.filter(repository__in=found).order_by().values_list("repository")
    return dict(rows.annotate(newest=Max("number")))


def tag_names(found: Sequence[int]) -> dict[int, list[str]]:
    """Repository id → its card's tags by name, of these ids."""
    names: dict[int, list[str]] = {}
    rows = RepositoryTag.objects.filter(repository__in=found).order_by("repository", "name")
    for pk, name in rows.values_list("repository", "name"):
        names.setdefault(pk, []).append(name)
    return names


def files(revision: Revision, *, only: Collection[str] | None = None) -> list[dict]:
    """The manifest: path, size and SHA-256 of each file, by path; of the paths in `only` where they are given."""
    entries = ManifestEntry.objects.filter(revision=revision).select_related("blob").order_by("path")
    entries = entries if only is None else entries.filter(path__in=only)
    return [{"path": entry.path, "size": entry.blob.size, "sha256": entry.blob_id} for entry in entries]


def file(revision: Revision, path: str) -> Blob:
    """The blob at `path`, or NotFound."""
    entry = ManifestEntry.objects.filter(revision=revision, path=path).select_related("blob").first()
    if entry is None:
        raise NotFound(f"There is no file {path!r} in {revision.oid[:10]}.", code="file_not_found")
    return entry.blob


def refs(repository: Repository) -> QuerySet[Ref]:
    """Branches and tags with what they point at, by name."""
    rows = Ref.objects.filter(repository=repository, kind__in=(RefKind.BRANCH, RefKind.TAG))
    rows = rows.select_related("revision__version").defer(*heavy("revision__version__"))
    return rows.order_by("name", "kind")


def proposed(repository: Repository) -> QuerySet[Ref]:
    """What pull requests propose, by number."""
    rows = Ref.objects.filter(repository=repository, kind=RefKind.PULL).select_related("revision__version")
    return rows.defer(*heavy("revision__version__")).order_by("pk")


def companion(viewer: Viewer, repository: Repository, kind: str, name: str) -> Companion | None:
    """One companion, where this viewer may see it."""
    return access.companions(viewer, repository).filter(kind=kind, name=name).first()


def used_storage(found: Sequence[Repository]) -> dict[int, int]:
    """Repository id → bytes of all its revisions, each digest once, in one query."""
    sums = dict.fromkeys((row.pk for row in found), 0)
    rows = Blob.objects.filter(entries__revision__repository__in=sums)
    for pk, _, size in rows.values_list("entries__revision__repository", "pk", "size").distinct():
        sums[pk] += size
    return sums


PLAIN = ("language", "pipeline_tag", "library_name")
"""Keys of the card whose words are tags without the key; of a dataset only the last two."""
OF_BASE, OF_ADAPTER, OF_LICENSE = "base_model:", "base_model:adapter:", "license:"


def tags(repository: Repository) -> list[str]:
    """Its tags, each once; `base`, `tags` and `words` are loaded."""
    found = ["peft", "safetensors"] if repository.peft_type else []
    found += [repository.peft_type.lower()] if repository.peft_type else []
    found += ["generator"] if repository.is_generator else []
    if repository.base:
        found += [OF_ADAPTER + repository.base.name] if repository.is_adapter else []
        found += [OF_BASE + repository.base.name]
    found += [OF_LICENSE + repository.license] if repository.license else []
    found += [_shown(word, repository) for word in card_words(repository)]
    return list(dict.fromkeys([*found, *sorted(tag.name for tag in repository.tags.all())]))


def card_words(repository: Repository) -> list[str]:
    """What the card says beside its tags, by key: `language:en`; `words` are loaded."""
    return sorted(row.word for row in repository.words.all())


def card_word(repository: Repository, key: str) -> str:
    """The card's first word of a key, "" without one."""
    found = (word.removeprefix(f"{key}:") for word in card_words(repository) if word.startswith(f"{key}:"))
    return next(found, "")


def tagged(found: QuerySet[Repository], tag: str) -> QuerySet[Repository]:
    """Those of `found` that have this tag."""
    words = [tag, *(f"{key}:{tag}" for key in PLAIN)]
    tags, said = RepositoryTag.objects.filter(name=tag), CardWord.objects.filter(word__in=words)
    # What nothing has is left out: with one way to have the tag, the list's own order leads to those that have it.
    condition = Q(pk__in=tags.values("repository")) if tags.exists() else Q(pk__in=[])
    if said.exists():
        condition |= Q(pk__in=said.values("repository"))
    if tag.startswith(OF_ADAPTER):
        condition |= Q(kind=Kind.ADAPTER, base__in=_bases(tag.removeprefix(OF_ADAPTER)))
    elif tag.startswith(OF_BASE):
        condition |= Q(base__in=_bases(tag.removeprefix(OF_BASE)))
    elif tag.startswith(OF_LICENSE):
        condition |= Q(license=tag.removeprefix(OF_LICENSE).lower())
    elif tag in ("peft", "safetensors"):
        condition |= ~Q(peft_type="")
    elif tag == "generator":
        condition |= Q(kind=Kind.GENERATOR)
    elif tag == tag.lower() and Repository.objects.filter(peft_type=tag.upper()).exclude(peft_type="").exists():
        condition |= Q(peft_type=tag.upper()) & ~Q(peft_type="")
    return found.filter(condition)


def _bases(name: str) -> QuerySet[BaseModel]:
    """The bases of a name in any letter case, and those that it is an alias of."""
    return BaseModel.objects.filter(Q(name__iexact=name) | Q(aliases__folded=fold(name)))


def _shown(word: str, repository: Repository) -> str:
    key, _, value = word.partition(":")
    return value if key in PLAIN and not (key == "language" and repository.is_dataset) else word
