"""What a repository becomes by its first files: a model that has no version yet is a generator where they are one's."""

from composition.formats.folder_rules import kind_of
from hub.errors import Conflict
from hub.models import Kind, Repository, Version
from hub.services import catalogue
from hub.services.content.manifest import Manifest


def as_its_files_say(repository: Repository, after: Manifest) -> Repository:
    """The repository; a model that has no version yet is a generator where its files are one's. Writes nothing."""
    says_generator = repository.is_adapter and kind_of(list(after)) == Kind.GENERATOR
    if not says_generator or Version.objects.filter(repository=repository).exists():
        return repository
    found = Repository.objects.select_related("namespace", "base").get(pk=repository.pk)
    found.kind = Kind.GENERATOR
    return found


def become(repository: Repository, kind: str) -> None:
    """Change the kind of a locked repository; Conflict where it got a version in the meantime."""
    if Version.objects.filter(repository=repository).exists():
        raise Conflict(f"{repository.path} got its first version at this moment; look at it, and commit again.")
    repository.kind = kind
    repository.save(update_fields=["kind"])
    catalogue.enter(repository)
