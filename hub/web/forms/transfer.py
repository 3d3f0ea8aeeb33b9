"""The page that moves an adapter to another base: target, way, seeds, discriminator, result; the shorter ways first."""

import json
import uuid
from dataclasses import dataclass, field

from django.http import HttpRequest

from composition.recipes import ShortcutRecipe
from composition.registry import Method, transfer_methods
from hub import access, queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import BaseModel, Version, Visibility
from hub.services import transfer_check
from hub.services.content.companions import DISCRIMINATOR, SEEDS
from hub.services.jobs.files import INDEX, roles_of
from hub.web.forms import recipe_fields
from hub.web.forms.refusal import Refused
from hub.web.pages.repository import Heading

MOST_TEXT = 5_000_000
# The settings that decide most, shown at once; the others open on demand.
FIRST = ("samples", "filter", "epochs", "learning_rate", "rank", "peft_type", "subspace", "dtype")


@dataclass
class Moving:
    """What the form holds. `asked()` are the arguments of `queue_job` and `check_job`."""

    viewer: Viewer
    page: Heading
    method: Method
    recipe: dict
    base: BaseModel | None
    texts: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    namespace: str = ""
    name: str = ""
    visibility: str = ""
    key: str = ""
    keep: bool = False
    refused: Refused = field(default_factory=Refused)

    @property
    def version(self) -> Version:
        """The version that moves."""
        return self.page.version

    @property
    def by_data(self) -> bool:
        """Whether the chosen way invents data, and so wants seeds."""
        return SEEDS in roles_of(self.method.kind)

    @property
    def wants_index(self) -> bool:
        """Whether the chosen way reads the index map of a pruning."""
        return INDEX in roles_of(self.method.kind)

    def files(self) -> dict:
        """The private inputs: text that was pasted or uploaded, else what is kept beside the adapter."""
        files: dict = {}
        for role in roles_of(self.method.kind):
            if role == DISCRIMINATOR and self.recipe.get("filter", DISCRIMINATOR) != DISCRIMINATOR:
                continue
            if self.texts.get(role, "").strip():
                files[role] = self.texts[role]
            elif self.kept.get(role):
                files[role] = {"companion": self.kept[role]}
        return files

    def asked(self) -> dict:
        """The arguments of `queue_job` and `check_job`."""
        return {
            "actor": access.require_user(self.viewer),
            "kind": self.method.kind,
            "recipe": self.recipe,
            "inputs": [self.version],
            "base": self.base,
            "output": (self.namespace, self.name),
            "visibility": self.visibility or None,
            "files": self.files(),
        }

    def as_json(self) -> str:
        """The request a program would POST to /api/v1/jobs, pasted text left out."""
        files = {role: value if isinstance(value, dict) else "…" for role, value in self.files().items()}
        body = {
            "kind": self.method.kind,
            "recipe": {key: value for key, value in self.recipe.items() if key != "kind"},
            "inputs": [str(self.version)],
            "base": str(self.base) if self.base else None,
            "output": f"{self.namespace}/{self.name}" if self.name else None,
            "files": files,
        }
        return json.dumps(body, indent=2)

    def ways(self) -> list[dict]:
        """The methods, those that fit without training first, each with what speaks for it."""
        offered = {row["kind"]: row["reason"] for row in self._shortcuts()}
        rows = [{"method": method, "reason": offered.get(method.kind, "")} for method in transfer_methods()]
        return sorted(rows, key=lambda row: not row["reason"])

    def _shortcuts(self) -> list[dict]:
        return transfer_check.shortcuts(self.method.kind, [self.version], self.base)

    def context(self, report: dict | None = None) -> dict:
        """For templates/transfer/page.html."""
        beside = list(access.companions(self.viewer, self.page.repository))
        seeds = [row for row in beside if row.kind == SEEDS]
        judges = {row.name.partition("/")[0]: row for row in beside if row.kind == DISCRIMINATOR}
        return {
            "page": self.page,
            "moving": self,
            "ways": self.ways(),
            "targets": targets(self.viewer, self.version),
            "seeds": seeds,
            "judges": judges,
            **recipe_fields.parted(self.method, self.recipe, FIRST),
            "namespaces": queries.writable(self.viewer),
            "visibilities": Visibility.values,
            "refused": self.refused,
            "report": report,
            "is_shortcut": issubclass(self.method.recipe, ShortcutRecipe),
        }


def read(request: HttpRequest, page: Heading, *, sent: bool) -> Moving:
    """The form as it opens or as it was sent; a base that isn't there is 404."""
    viewer, form = access.viewer_of(request), request.POST if sent else request.GET
    method = recipe_fields.method_of(form.get("kind", "") or transfer_methods()[0].kind, "transfer")
    base = form.get("base", "").strip()
    moving = Moving(
        viewer,
        page,
        method,
        recipe_fields.read(method, form, partly=not sent),
        access.base(base) if base else None,
        {role: _text(request, role) for role in (SEEDS, INDEX)} if sent else {},
        {role: form.get(f"{role}_kept", "") for role in (SEEDS, DISCRIMINATOR)},
        form.get("namespace", "").strip() or next(iter(queries.writable(viewer)), ""),
        form.get("name", "").strip(),
        form.get("visibility", ""),
        form.get("key", "")[:64] or uuid.uuid4().hex,
        form.get("keep") == "on",
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
        raise Invalid(f"{file.name} has {file.size:,} bytes; give at most {MOST_TEXT:,}.", field="files")
    try:
        return file.read().decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid(f"{file.name} is not UTF-8 text; save it as JSONL in UTF-8.", field="files") from None
