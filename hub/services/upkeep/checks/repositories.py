"""A repository's refs, the numbers of its versions, and the facets that repeat its newest version and its card."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

from django.db import transaction

from hub.errors import HubError
from hub.models import CardWord, ManifestEntry, Ref, RefKind, Repository, RepositoryTag, Revision, Version
from hub.names import PULL, check_ref
from hub.services import catalogue, refs
from hub.services.content import facets
from hub.services.content.cards import Card, read_card
from hub.services.content.manifest import CARD, BlobSource, manifest_of, read_whole
from hub.services.content.publishing import LATEST, MAIN, last_version
from hub.services.upkeep import batches
from hub.services.upkeep.checks.finding import Finding, Look


def check(look: Look) -> Iterator[Finding]:
    """Every repository but tombstones. What is found is looked for again, as a push may have come in between."""
    living = Repository.objects.filter(purged_at=None).select_related("namespace", "base")
    for repository in chain.from_iterable(batches.rows(living)):
        look.tick("repositories")
        if list(_of(repository, look)):
            current = living.filter(pk=repository.pk).first()
            yield from _of(current, look) if current else ()


def _of(repository: Repository, look: Look) -> Iterator[Finding]:
    yield from _refs(repository)
    yield from _numbers(repository)
    if repository.pk not in look.broken:
        wrong = [*_facets(repository), *_card(repository, look)]
        # Mending these enters it again.
        yield from wrong or _entry(repository)


def _refs(repository: Repository) -> Iterator[Finding]:
    every = Ref.objects.filter(repository=repository).select_related("revision")
    refs = {(ref.kind, ref.name): ref for ref in every}
    for ref in refs.values():
        if ref.revision.repository_id != repository.pk:
            if ref.name in (MAIN, LATEST):
                yield _rebuild(repository, "ref.foreign", ref.name, "it points into another repository")
                continue
            yield Finding(
                code="ref.foreign",
                where=f"{repository.path} {ref.name}",
                message="it points into another repository",
                repair="remove the ref, since nobody knows where it pointed",
                mend=Ref.objects.filter(pk=ref.pk).delete,
            )
        kind = {MAIN: RefKind.BRANCH, LATEST: RefKind.TAG}.get(ref.name)
        if (kind and ref.kind != kind) or ref.kind not in RefKind.values:
            yield _rebuild(repository, "ref.kind", ref.name, f"it is a {ref.kind}, not a {kind or 'branch or tag'}")
        if reason := _wrong_name(ref):
            yield Finding(code="ref.name", where=f"{repository.path} {ref.name}", message=reason)
    if not any(ref.is_branch for ref in refs.values()) and _tip(repository):
        yield _rebuild(repository, "ref.lost", MAIN, "the repository has revisions and no branch")
    newest, latest = last_version(repository), refs.get((RefKind.TAG, LATEST))
    latest = latest or next((ref for ref in refs.values() if ref.name == LATEST), None)
    made = _made(repository, newest)
    if newest and latest is None:
        yield _rebuild(repository, "ref.latest", LATEST, f"it is missing, and the newest version is {newest.label}")
    elif latest and latest.revision.repository_id == repository.pk and latest.revision_id != (made and made.pk):
        wanted = f"the revision that made {newest.label}, the newest version" if newest else "a version: there is none"
        found = _rebuild(repository, "ref.latest", LATEST, f"it isn't at {wanted}")
        # Where a version has lost its revision, nobody knows whose the others are.
        lost = Version.objects.filter(repository=repository, revisions=None).exists()
        yield replace(found, repair="", mend=None) if lost else found


def _wrong_name(ref: Ref) -> str:
    """What is wrong with its name; "" for nothing. The hub alone names pull requests' refs."""
    if ref.name in (MAIN, LATEST) or (ref.is_pull and PULL.fullmatch(ref.name)):
        return ""
    try:
        check_ref(ref.name)
    except HubError as error:
        return error.message
    return f"{ref.name!r} can't name a pull request's ref: refs/pr/N does." if ref.is_pull else ""


def _rebuild(repository: Repository, code: str, name: str, message: str) -> Finding:
    return Finding(
        code=code,
        where=f"{repository.path} {name}",
        message=message,
        repair="point it where the hub would: main at the newest revision, latest at the one that made the newest "
        "version",
        mend=partial(rebuild_ref, repository, name),
    )


@transaction.atomic
def rebuild_ref(repository: Repository, name: str) -> None:
    """Let `main` or `latest` point where publishing would have left it, or remove what can point nowhere."""
    Repository.objects.select_for_update(of=("self",)).get(pk=repository.pk)
    if name not in (MAIN, LATEST):
        odd = Ref.objects.filter(repository=repository, name=name).exclude(kind__in=RefKind.values)
        if Ref.objects.filter(repository=repository, name=name, kind=RefKind.BRANCH).exists():
            odd.delete()
        for ref in odd[:1]:
            Ref.objects.filter(pk=ref.pk).update(kind=RefKind.BRANCH)
        return
    kind = RefKind.BRANCH if name == MAIN else RefKind.TAG
    named = Ref.objects.filter(repository=repository, name=name).select_related("revision")
    there = named.filter(kind=kind).first() or named.first()
    named.exclude(kind=kind).delete()
    if name == MAIN:
        right = there and there.revision.repository_id == repository.pk
        revision = there.revision if right else _tip(repository)
    else:
        revision = _made(repository, last_version(repository))
    if revision is None:
        Ref.objects.filter(repository=repository, name=name, kind=kind).delete()
        return
    refs.move(actor=None, repository=repository, moves=[(kind, name)], revision=revision, may_protected=True)


def _made(repository: Repository, version: Version | None) -> Revision | None:
    """The revision that made a version, among this repository's own: damage may have given it others."""
    return Revision.objects.filter(repository=repository, version=version).order_by("pk").first() if version else None


def _tip(repository: Repository) -> Revision | None:
    """The newest revision that no other goes on from, and that is no pull request's."""
    tips = Revision.objects.filter(repository=repository, children=None).order_by("-pk")
    return tips.exclude(refs__kind=RefKind.PULL).first()


def _numbers(repository: Repository) -> Iterator[Finding]:
    numbers = list(Version.objects.filter(repository=repository).order_by("number").values_list("number", flat=True))
    if numbers != list(range(1, len(numbers) + 1)):
        missing = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
        named = ", ".join(f"v{number}" for number in missing[:5]) or "v0"
        yield Finding(
            code="version.gap",
            where=repository.path,
            message=f"{named} of {len(numbers)} versions is not where it should be; restore a backup",
        )


def _facets(repository: Repository) -> Iterator[Finding]:
    newest = last_version(repository)
    made = _made(repository, newest)
    if newest and made:
        wrong = [
            name for name, value in facets.of_version(repository, newest).items() if getattr(repository, name) != value
        ]
        sizes = ManifestEntry.objects.filter(revision__repository=repository, revision__version=newest)
        if repository.size not in _totals(sizes):
            wrong.append("size")
        if wrong:
            yield Finding(
                code="repository.facets",
                where=repository.path,
                message=f"its {', '.join(wrong)} differ from {newest.label}'s",
                repair=f"copy them from {newest.label}",
                mend=partial(_copy_facets, repository, newest, made),
            )


def _totals(entries) -> set[int]:
    totals: dict[int, int] = {}
    for revision, size in entries.values_list("revision_id", "blob__size"):
        totals[revision] = totals.get(revision, 0) + size
    return set(totals.values())


def _copy_facets(repository: Repository, newest: Version, made: Revision) -> None:
    values = facets.of_version(repository, newest)
    Repository.objects.filter(pk=repository.pk).update(**values, size=facets.size_of(made))
    catalogue.enter(repository)


def _entry(repository: Repository) -> Iterator[Finding]:
    if catalogue.is_stale(repository):
        yield Finding(
            code="repository.entry",
            where=repository.path,
            message="the search and the counts of facets know it as it was before",
            repair="enter it again",
            mend=partial(catalogue.enter, repository),
        )


def _card(repository: Repository, look: Look) -> Iterator[Finding]:
    main = Ref.objects.filter(repository=repository, name=MAIN, kind=RefKind.BRANCH).select_related("revision").first()
    manifest = manifest_of(main.revision) if main else {}
    if main is None or main.revision.repository_id != repository.pk:
        return
    if CARD in manifest and manifest[CARD].sha256 in look.bad:
        return  # `stored` says so.
    try:
        card = read_card(read_whole(BlobSource(manifest[CARD]))) if CARD in manifest else Card()
    except HubError:
        return  # No push could bring it: its manifest is damaged, and `history` says so.
    tags = set(RepositoryTag.objects.filter(repository=repository).values_list("name", flat=True))
    words = set(CardWord.objects.filter(repository=repository).values_list("word", flat=True))
    if repository.license != card.license or tags != set(card.tags) or words != set(card.words):
        yield Finding(
            code="repository.card",
            where=repository.path,
            message="its licence or tags differ from those of the card on main",
            repair="read them from the card again",
            mend=partial(facets.apply_words, repository, card),
        )
