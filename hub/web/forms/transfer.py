"""The page that moves an adapter to another base: target, way, seeds, discriminator, result; the shorter ways first."""

from dataclasses import dataclass, field

from django.http import HttpRequest

from composition.registry import methods_of
from hub import access, queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import ADAPTER, BaseModel, Job, Version
from hub.models.companions import DISCRIMINATOR, SEEDS
from hub.services.jobs.kept_seeds import queue_keeping_seeds
from hub.services.jobs.kinds.transfer_shortcuts import INDEX
from hub.services.jobs.request import JobRequest
from hub.web.forms import recipe_fields
from hub.web.forms.job_form import JobForm, typed
from hub.web.pages.repository import Heading

MOST_TEXT = 5_000_000
# The settings that decide most, shown at once; the others open on demand.
FIRST = ("samples", "filter", "epochs", "learning_rate", "rank", "peft_type", "subspace", "dtype")


@dataclass(kw_only=True)
class TransferForm(JobForm):
    """`texts` are private inputs by role as they were pasted or uploaded, `kept` names of companions by role.

    `keep` asks that the seeds be kept with the adapter.
    """

    page: Heading
    base: BaseModel | None
    texts: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    keep: bool = False

    @property
    def version(self) -> Version:
        """The version that moves."""
        return self.page.version

    @property
    def by_data(self) -> bool:
        """Whether the chosen way invents data, and so wants seeds."""
        return SEEDS in self.kind.file_roles(self.method)

    @property
    def wants_index(self) -> bool:
        """Whether the chosen way reads the index map of a pruning."""
        return INDEX in self.kind.file_roles(self.method)

    def files(self) -> dict:
        """The private inputs: text that was pasted or uploaded, else what is kept beside the adapter."""
        files: dict = {}
        for role in self.kind.file_roles(self.method):
            if role == DISCRIMINATOR and self.recipe.get("filter", DISCRIMINATOR) != DISCRIMINATOR:
                continue
            if self.texts.get(role, "").strip():
                files[role] = self.texts[role]
            elif self.kept.get(role):
                files[role] = {"companion": self.kept[role]}
        return files

    def request(self) -> JobRequest:
        return super().request().replace(inputs={ADAPTER: (self.version,)}, base=self.base, files=self.files())

    def start(self, request: JobRequest) -> Job:
        """Queue the job, and keep its seeds with the adapter where that was asked for; both or neither."""
        if not (self.keep and self.page.may_write and self.texts.get(SEEDS, "").strip()):
            return super().start(request)
        access.require_user(self.viewer)
        asked = {"actor": self.viewer, "request": request, "idempotency_key": self.key or None}
        job = queue_keeping_seeds(**asked, repository=self.page.repository, text=self.texts[SEEDS])
        self.notice = "The seeds are kept with the adapter, privately."
        return job

    def ways(self) -> list[dict]:
        """The methods, those that fit without training first, each with what speaks for it."""
        offered = {row["kind"]: row["reason"] for row in self._shortcuts()}
        rows = [{"method": method, "reason": offered.get(method.kind, "")} for method in methods_of("transfer")]
        return sorted(rows, key=lambda row: not row["reason"])

    def _shortcuts(self) -> list[dict]:
        return self.kind.shorter_ways(self.request())

    def context(self) -> dict:
        """For templates/transfer/page.html."""
        beside: dict[str, list] = {SEEDS: [], DISCRIMINATOR: []}
        for row in access.companions(self.viewer, self.page.repository):
            beside.setdefault(row.kind, []).append(row)
        return {
            "page": self.page,
            "moving": self,
            "ways": self.ways(),
            "targets": targets(self.viewer, self.version),
            "seeds": beside[SEEDS],
            "judges": {row.name.partition("/")[0]: row for row in beside[DISCRIMINATOR]},
            **recipe_fields.parted(self.method, self.recipe, FIRST),
            "is_shortcut": not self.by_data,
            **self.shared_context(),
        }


def read(request: HttpRequest, page: Heading, *, sent: bool) -> TransferForm:
    """The form as it opens or as it was sent; a base that isn't there is 404."""
    viewer, form = access.viewer_of(request), request.POST if sent else request.GET
    method = recipe_fields.method_of(form.get("kind", "") or methods_of("transfer")[0].kind, "transfer")
    base = form.get("base", "").strip()
    moving = TransferForm(
        viewer=viewer,
        page=page,
        method=method,
        recipe=recipe_fields.read(method, form, partly=not sent),
        base=access.base(base) if base else None,
        texts={role: _text(request, role) for role in (SEEDS, INDEX)} if sent else {},
        kept={role: form.get(f"{role}_kept", "") for role in (SEEDS, DISCRIMINATOR)},
        keep=form.get("keep") == "on",
        **typed(viewer, form),
    )
    if not sent and base and not moving.name:
        moving.name = f"{page.repository.name}-{moving.base.name.rpartition('/')[2]}".lower()[:96]
    return moving


def targets(viewer: Viewer, version: Version) -> list[dict]:
    """Bases it may move to, its own relatives first: [{"base", "related", "ready"}]."""
    own = version.base
    rows = []
    for base in queries.bases(viewer):
        related = own is not None and (
            own.pk == base.derived_from_id
            or own.derived_from_id == base.pk
            or (own.derived_from_id is not None and own.derived_from_id == base.derived_from_id)
        )
        if own is None or base.pk != own.pk:
            rows.append({"base": base, "related": related, "ready": bool(base.fingerprint)})
    return sorted(rows, key=lambda row: (not row["ready"], not row["related"]))


def _text(request: HttpRequest, role: str) -> str:
    """What was uploaded for a role, else what was pasted."""
    file = request.FILES.get(f"{role}_file")
    if file is None:
        return request.POST.get(role, "").replace("\r\n", "\n")
    if file.size > MOST_TEXT:
        raise Invalid(f"{file.name} has {file.size:,} bytes; at most {MOST_TEXT:,} are read.", field="files")
    try:
        return file.read().decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid(f"{file.name} is not UTF-8 text; save it as JSONL in UTF-8.", field="files") from None
