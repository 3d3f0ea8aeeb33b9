"""The tags by which clients of the Hugging Face protocol know a repository and find it.

What `tags` shows, `tagged` finds. Some come from the newest version (`peft`, `base_model:adapter:org/name`), some from
the card: its own tags, and its words by their key (`dataset:lab/sums`) or plain (`en`).
"""

from django.db.models import Q, QuerySet

from hub.models import BaseModel, CardWord, Kind, Repository, RepositoryTag, fold

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
    condition = Q(pk__in=RepositoryTag.objects.filter(name=tag).values("repository"))
    condition |= Q(pk__in=CardWord.objects.filter(word__in=words).values("repository"))
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
    elif tag == tag.lower():
        condition |= Q(peft_type=tag.upper()) & ~Q(peft_type="")
    return found.filter(condition)


def _bases(name: str) -> QuerySet[BaseModel]:
    """The bases of a name in any letter case, and those that it is an alias of."""
    return BaseModel.objects.filter(Q(name__iexact=name) | Q(aliases__folded=fold(name)))


def _shown(word: str, repository: Repository) -> str:
    key, _, value = word.partition(":")
    return value if key in PLAIN and not (key == "language" and repository.is_dataset) else word
