"""The private inputs of a job that are no versions: found or refused when it is queued, fixed by digest, let go after.

Each comes as text in the request, or is taken from the companions beside the input adapter that the actor may see. The
dry run finds the same files and stores nothing.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from composition.formats import FORMATS
from composition.formats.dataset.seed_rows import read_seeds, seed_facts
from composition.formats.strict_json import strict_loads
from composition.recipes.generate import VERB
from composition.recipes.synthesis import SynthesisOptions
from composition.registry import METHODS
from hub import access
from hub.errors import Invalid
from hub.models import Blob, Companion, Job, JobFile, Repository, State, User, Version
from hub.services.content.blob_claims import claim_blobs
from hub.services.content.collection import collect, unreferenced
from hub.services.content.companions import DISCRIMINATOR, SEEDS
from hub.services.content.manifest import Entry
from hub.storage import blobs

REAL, INDEX = "real", "index"
# How long a job that failed or was cancelled may be tried again with what it was given, and from where it stopped.
KEPT = timedelta(days=1)
NO_RESULT = (State.FAILED, State.CANCELLED)
PEFT_FILES = set(FORMATS["peft"].files)
# verb → the roles of the files of its methods that invent data; the others take none.
ROLES = {"transfer": (SEEDS, DISCRIMINATOR), "discriminator": (SEEDS, REAL)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One file: `data` where it came with the request and is stored nowhere yet, else its bytes are in the store."""

    role: str
    name: str
    entry: Entry
    facts: dict = field(default_factory=dict)
    data: bytes | None = None


def roles_of(kind: str) -> tuple[str, ...]:
    """What files a job of this kind may have."""
    method = METHODS.get(kind)
    if kind == "loram":
        return (INDEX,)
    return ROLES[method.verb] if method and issubclass(method.recipe, SynthesisOptions) else ()


def find(
    *,
    actor: User,
    kind: str,
    recipe: object,
    inputs: Sequence[Version],
    asked: Mapping[str, object],
    others: Mapping[str, Version] = {},
) -> list[Given]:
    """The job's files. `asked` is role → JSONL text, or {"companion": name}; what isn't named is looked for.

    Raises Invalid for roles and names, CompositionError `seeds.*` for rows.
    """
    if kind in METHODS and METHODS[kind].verb == VERB:
        from hub.services import generation_files

        return generation_files.find(actor=actor, recipe=recipe, others=others, asked=asked)
    roles = roles_of(kind)
    for role in asked:
        if role not in roles:
            takes = ", ".join(roles) or "none"
            raise Invalid(f"A job of the kind {kind} has no file {role!r}; it takes: {takes}.", field="files")
    found: list[Given] = []
    for role in roles:
        value = asked.get(role)
        if role == DISCRIMINATOR and getattr(recipe, "filter", "") != DISCRIMINATOR:
            if value:
                raise Invalid(f"filter={getattr(recipe, 'filter', '')} uses no discriminator.", field="files")
            continue
        if isinstance(value, str):
            found.append(_sent(role, value))
        elif role in (SEEDS, DISCRIMINATOR) and inputs:
            name = _companion_name(role, value)
            found += _kept(actor, inputs[0].repository, role, name)
        elif value is not None:
            raise Invalid(f"files.{role}: send its text.", field="files")
    return found


def rows(given: Sequence[Given], role: str) -> int:
    """How many rows there are of a role; 0 where it is missing."""
    return sum(file.facts.get("rows", 0) for file in given if file.role == role)


def hold(job: Job, given: Sequence[Given]) -> None:
    """Store what came with the request and note all files; call it in the transaction that makes the job."""
    for file in given:
        if file.data is not None:
            blobs.put(io.BytesIO(file.data))
    claim_blobs({file.entry for file in given})
    held = {blob.pk: blob for blob in Blob.objects.filter(pk__in={file.entry.sha256 for file in given})}
    for file in given:
        digest = file.entry.sha256
        JobFile.objects.create(
            job=job, role=file.role, name=file.name, blob=held[digest], digest=digest, facts=file.facts
        )


def let_go(job_id: int) -> None:
    """A job that is done needs its files no more; their digests stay."""
    JobFile.objects.filter(job_id=job_id).update(blob=None)


def purge(*, kept: timedelta = KEPT) -> int:
    """Let go of the files of jobs that ended without a result more than `kept` ago; how many.

    Then delete the bytes of all files that were let go, those of done jobs too, unless something else refers to them.
    The jobs are locked, so that none is queued again meanwhile and finds its files gone.
    """
    before = timezone.now() - kept
    with transaction.atomic():
        held = Exists(JobFile.objects.filter(job=OuterRef("pk"), blob__isnull=False))
        over = Job.objects.select_for_update().filter(held, state__in=NO_RESULT, finished_at__lt=before)
        gone = JobFile.objects.filter(job__in=list(over.values_list("pk", flat=True))).update(blob=None)
    free = unreferenced().filter(pk__in=JobFile.objects.filter(blob=None).values("digest"))
    for sha256 in list(free.values_list("pk", flat=True)):
        collect(sha256, before)
    return gone


def require(job: Job) -> None:
    """Invalid where a job's files are gone, so that it can't run again."""
    gone = job.files.filter(blob=None).first()
    if gone:
        raise Invalid(f"The job's {gone.role} were taken away since ({gone.name}); start a new job.", field="files")


def files_of(job: Job, role: str) -> dict[str, Entry]:
    """name → bytes of one role, as the job's worker reads them."""
    held = JobFile.objects.filter(job=job, role=role, blob__isnull=False).select_related("blob")
    return {row.name: Entry(row.blob_id, row.blob.size) for row in held}


def facts_of(job: Job, role: str) -> dict:
    """What is known of a role's files; {} where there is none."""
    row = JobFile.objects.filter(job=job, role=role).first()
    return row.facts if row else {}


def _sent(role: str, text: str) -> Given:
    if role == DISCRIMINATOR:
        raise Invalid('Name a discriminator that is kept: {"companion": "v1"}.', field="files")
    data = text.encode()
    facts = _index_facts(data) if role == INDEX else seed_facts(read_seeds(data, what=role))
    entry = Entry(hashlib.sha256(data).hexdigest(), len(data))
    name = f"{role}.json" if role == INDEX else f"{role}.jsonl"
    return Given(role=role, name=name, entry=entry, facts=facts, data=data)


def _index_facts(data: bytes) -> dict:
    """{"modules": how many}; Invalid for what is no index map."""
    index = strict_loads(data, area="index", what="index.json")
    if not isinstance(index, dict) or not index or not all(_is_entry(entry) for entry in index.values()):
        raise Invalid(
            'The index map is {"module": {"in": [0, 2, …], "out": [0, 1, …], "name": "in the full base"}}: whole '
            "numbers; what was not pruned or renamed is left out.",
            field="files",
        )
    return {"modules": len(index)}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not set(entry) <= {"in", "out", "name"}:
        return False
    sides = [entry[side] for side in ("in", "out") if entry.get(side) is not None]
    whole = all(isinstance(side, list) and all(type(n) is int and n >= 0 for n in side) for side in sides)
    return whole and isinstance(entry.get("name", ""), str)


def _companion_name(role: str, value: object) -> str | None:
    if value is None:
        return None
    name = value.get("companion") if isinstance(value, dict) and set(value) == {"companion"} else None
    if not isinstance(name, str) or not name:
        raise Invalid(f'files.{role}: send text, or {{"companion": "name"}} for one that is kept.', field="files")
    return name


def _kept(actor: User, repository: Repository, role: str, name: str | None) -> list[Given]:
    """The named companion, or the newest; [] where none is kept and none was named."""
    every = access.companions(access.Viewer(user=actor), repository).filter(kind=role)
    if name is not None:
        every = access.named(every, name)
        if not every:
            raise access.missing(f"{role}/{name}", "companion")
    newest = max(every, key=lambda row: (row.created_at, row.pk), default=None)
    if newest is None:
        return []
    chosen = [row for row in every if _folder(row) == _folder(newest)] if role == DISCRIMINATOR else [newest]
    if role == DISCRIMINATOR and {row.name.rpartition("/")[2] for row in chosen} != PEFT_FILES:
        raise Invalid(f"The discriminator {_folder(newest)} is not whole; train it again.", field="files")
    return [_of(row, role) for row in chosen]


def _of(row: Companion, role: str) -> Given:
    name = row.name.rpartition("/")[2]
    return Given(role=role, name=name, entry=Entry(row.blob_id, row.blob.size), facts=row.facts)


def _folder(row: Companion) -> str:
    return row.name.rpartition("/")[0]
