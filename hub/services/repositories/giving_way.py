"""A repository in the trash gives its name to whoever makes or moves another one there, as on Hugging Face's hub.

It keeps everything else, and stays in the trash under a free name beside it, `lab/dates-deleted`, then
`lab/dates-deleted-2`. Under that name its admins find it, restore it, or delete it for good.
"""

from itertools import count

from hub.models import FormerName, Namespace, Repository, User, sharing_names
from hub.names import GAVE_WAY
from hub.services import catalogue
from hub.services.audit import record

ROOM = 80  # characters of the old name that are kept, so that suffix and number fit


def give_way(actor: User, namespace: Namespace, name: str, kind: str) -> None:
    """Free `name` where a repository in the trash has it. The namespace is locked by the caller."""
    rows = Repository.objects.filter(sharing_names(kind), namespace=namespace, name__iexact=name)
    # Whoever restores it at this moment is waited for; then it keeps its name.
    found = rows.exclude(deleted_at=None).select_for_update(of=("self",)).select_related("namespace").first()
    if found is None:
        return
    before, found.name = found.path, _free_name(found)
    found.save(update_fields=["name"])
    catalogue.enter(found)
    record(actor, "repository.move", found, before=before, after=found.path)


def _free_name(repository: Repository) -> str:
    stem = repository.name[:ROOM].rstrip("-.") + GAVE_WAY
    near = {"namespace": repository.namespace}
    rows = Repository.objects.filter(sharing_names(repository.kind), **near, name__istartswith=stem)
    former = FormerName.objects.filter(**near, is_dataset=repository.is_dataset, folded__startswith=stem.lower())
    taken = {name.lower() for name in rows.values_list("name", flat=True)}
    taken |= set(former.values_list("folded", flat=True))
    names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
    return next(name for name in names if name.lower() not in taken)
