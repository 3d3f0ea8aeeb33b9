"""What a set of files is: read through once, before a row is written and outside any transaction.

Content policy first (names, magic bytes), then the card, then the files as their repository's kind. What comes out,
`Checked`, is all that publishing needs to know; it opens no file again as long as the manifest stays the one checked.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from composition.formats.content import SNIFF_BYTES, check_paths, sniff
from composition.formats.generator.files import read_config, validate_generator
from composition.formats.mixture.files import check_loader
from composition.formats.peft.config import parse_peft_config
from composition.formats.validate import validate_adapter, validate_dataset
from hub.models import BaseModel, Kind, Version
from hub.services.content.cards import Card, read_card
from hub.services.content.manifest import (
    ADAPTER_CONFIG,
    CARD,
    CONFIGS,
    GENERATOR_CONFIG,
    BlobSource,
    Manifest,
    Source,
    content_digest,
    read_whole,
)
from hub.services.known_bases import match_base, require_shapes, unknown_base

# A ZIP's directory lies at its end, before a comment of at most 64 KiB.
TAIL_BYTES = 66_000


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


def check_files(
    kind: str,
    manifest: Manifest,
    *,
    sources: Mapping[str, Source] | None = None,
    fresh: Collection[str] | None = None,
    base: BaseModel | None = None,
    versions: Collection[Version] = (),
) -> Checked:
    """Check `manifest` as `kind`; `sources` says where files lie that are not in the blob store yet.

    `fresh` are the paths whose bytes nobody has looked at (None = all). `versions` are those this content may be
    equal to, the nearest first. Raises CompositionError for the files, Invalid for the card and the base.
    """
    every: dict[str, Source] = {path: BlobSource(entry) for path, entry in manifest.items()} | dict(sources or {})
    check_paths(list(manifest))
    for path in manifest if fresh is None else fresh:
        check_content(path, every[path])
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
    if kind == Kind.DATASET:
        base, facts = None, validate_dataset(every)
    else:
        base = base or _base_of(kind, every, versions)
        validate = validate_adapter if kind == Kind.ADAPTER else validate_generator
        facts = validate(every, base_shapes=require_shapes(base) if base else None)
        if base is None:
            raise unknown_base(facts.base_model_name, CONFIGS[kind])
    return Checked(manifest=manifest, card=card, digest=digest, base=base, facts=facts.to_dict())


def check_content(path: str, source: Source) -> None:
    """Refuse what its bytes or its name say it must not be: pickles, archives, programs, unknown kinds."""
    with source.open() as stream:
        first = stream.read(SNIFF_BYTES)
        stream.seek(max(0, source.size - TAIL_BYTES))
        last = stream.read(TAIL_BYTES)
    sniff(path, first, last, size=source.size)
    check_loader(path, source)


def _base_of(kind: str, sources: Mapping[str, Source], versions: Collection[Version]) -> BaseModel | None:
    """The base nobody named: that of the version before if the config still says the same name, else by that name."""
    if CONFIGS[kind] not in sources:
        return None
    if kind == Kind.GENERATOR:
        name, revision = read_config({GENERATOR_CONFIG: sources[GENERATOR_CONFIG]}).base_model, None
    else:
        config = parse_peft_config(read_whole(sources[ADAPTER_CONFIG]))
        name, revision = config.base_model_name, config.raw.get("revision")
    for version in versions:
        if version.base and version.facts.get("base_model_name") == name:
            return version.base
    return match_base(name, revision if isinstance(revision, str) else None)
