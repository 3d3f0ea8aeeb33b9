"""What a set of files is: read through once, before a row is written and outside any transaction.

Content policy first (names, magic bytes), then the card, then the files as their repository's kind. What comes out,
`Checked`, is all that publishing needs to know; it opens no file again as long as the manifest stays the one checked.
"""

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from composition.formats import FORMATS
from composition.formats.content import check_paths, refuse_programs
from composition.formats.gate import check_file
from composition.formats.table import Format
from hub.errors import collecting, refuse_all
from hub.models import BaseModel, Version
from hub.services.content.cards import Card, read_card
from hub.services.content.manifest import CARD, Manifest, Source, content_digest, read_whole, sources_of
from hub.services.known_bases import match_base, require_shapes, unknown_base
from hub.services.parsing.gate import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A manifest that passed. `digest` is "" and `facts` None where there are no weights or rows yet.

    `same_as` is the version whose content this is; then nothing but other files changed.
    """

    manifest: Manifest
    card: Card | None
    digest: str
    base: BaseModel | None = None
    facts: dict | None = None
    same_as: Version | None = None


LARGE = 50_000_000
CHECKS = Gate("checking large uploads", at_once=3, waiting=5, patience=30.0)


def check_files(
    kind: str,
    manifest: Manifest,
    *,
    sources: Mapping[str, Source] | None = None,
    fresh: Collection[str] | None = None,
    base: BaseModel | None = None,
    versions: Collection[Version] = (),
    partial: bool = False,
) -> Checked:
    """Check `manifest` as `kind`; `sources` says where to read files that are not in the blob store yet.

    With `partial`, files that are not whole yet (weights without their config) pass as files; so they do where none of
    `fresh` is of those that make a version.

    `fresh` are the paths whose bytes nobody has looked at (None = all). `versions` are those this content may be
    equal to, the nearest first. Raises CompositionError for the files, Invalid for the card and the base, and Busy
    where much is to be read and the hub reads as much as it can.
    """
    read = sum(manifest[path].size for path in (manifest if fresh is None else fresh))
    with CHECKS.passed() if read > LARGE else contextlib.nullcontext():
        return _check(kind, manifest, sources, fresh, base, versions, partial)


def _check(
    kind: str,
    manifest: Manifest,
    sources: Mapping[str, Source] | None,
    fresh: Collection[str] | None,
    base: BaseModel | None,
    versions: Collection[Version],
    partial: bool,
) -> Checked:
    every = sources_of(manifest) | dict(sources or {})
    check_paths(list(manifest))
    refuse_programs(list(manifest))
    problems: list[Exception] = []
    for path in manifest if fresh is None else fresh:
        with collecting(problems):
            check_file(path, every[path], beside=manifest)
    refuse_all(problems)
    card = read_card(read_whole(every[CARD])) if CARD in manifest else None
    digest = content_digest(kind, manifest, every)
    if not digest:
        return Checked(manifest=manifest, card=card, digest="")
    looked_at = set(manifest if fresh is None else fresh)
    for version in versions:
        if version.content_digest == digest and base in (None, version.base) and looked_at <= {CARD}:
            return Checked(
                manifest=manifest, card=card, digest=digest, base=version.base, facts=version.facts, same_as=version
            )
    row = FORMATS.recognise(kind, every, stored=True)
    if row.missing(manifest) and (partial or not any(row.content(path) for path in looked_at)):
        return Checked(manifest=manifest, card=card, digest="")
    base = (base or _base_of(row, every, versions)) if row.base_of else None
    facts = row.check(every, base_shapes=require_shapes(base) if base else None)
    if row.base_of and base is None:
        said = row.base_of(every)
        raise unknown_base(facts.base_model_name, row.config or "The upload", said and said.revision)
    return Checked(manifest=manifest, card=card, digest=digest, base=base, facts=facts.to_dict())


def _base_of(row: Format, sources: Mapping[str, Source], versions: Collection[Version]) -> BaseModel | None:
    """The base where none was named: the last version's if the files still give its name, else the one of that name."""
    said = row.base_of(sources) if row.base_of else None
    if said is None:
        return None
    for version in versions:
        if version.base and version.facts.get("base_model_name") == said.name:
            return version.base
    return match_base(*said)
