"""The page that registers a base: from a config.json, or as a worker holds the model."""

from dataclasses import dataclass, field

from django.http import HttpRequest

from hub import access, queries
from hub.access import Viewer
from hub.errors import Invalid, NotFound, PermissionDenied
from hub.models import BaseModel
from hub.services import bases
from hub.services.base_configs import MAX_CONFIG, read_config
from hub.web.forms.refusal import Refused, refusal_of

FIELDS = ("name", "revision", "config", "derived_from", "relation", "license", "aliases", "folder", "package")
# The service speaks of a base's `source`; the page has a field for each kind of it.
MORE = ("revision", "derived_from", "relation", "license", "aliases", "source", "folder", "package")


@dataclass(kw_only=True)
class RegisterForm:
    """What was typed, by field; `held` where it is to be registered as a worker holds it."""

    viewer: Viewer
    typed: dict[str, str]
    held: bool = False
    refused: Refused = field(default_factory=Refused)

    def register(self) -> BaseModel | None:
        """The base, or None where the form is refused and says why."""
        actor = access.require_user(self.viewer)
        with refusal_of(self.refused, NotFound, PermissionDenied):
            return bases.register_base(actor=actor, **self._wanted())[0]
        return None

    def _wanted(self) -> dict:
        typed = self.typed
        wanted = {"name": typed["name"], "revision": typed["revision"] or bases.MAIN}
        if self.held:
            return wanted
        if not typed["config"].strip():
            raise Invalid("Choose the model's config.json, or paste it.", field="config")
        config = read_config(typed["config"].encode())
        parent = typed["derived_from"]
        wanted |= {"config": config, "license": typed["license"], "relation": typed["relation"]}
        wanted |= {"derived_from": access.base(parent) if parent else None, "source": self._source()}
        return wanted | {"aliases": [line.strip() for line in typed["aliases"].splitlines() if line.strip()]}

    def _source(self) -> dict[str, str]:
        folder, package = self.typed["folder"], self.typed["package"]
        if folder and package:
            raise Invalid("Give the folder or the package that has the weights, not both.", field="source")
        if folder:
            return {"kind": "folder", "path": folder}
        return {"kind": "gguf", "package": package} if package else {}

    def context(self) -> dict:
        """For templates/bases/new.html."""
        user = access.require_user(self.viewer)
        return {
            "here": "bases",
            "form": self.typed,
            "refused": self.refused,
            "open": self.refused.field in MORE or any(self.typed[name] for name in MORE if name in self.typed),
            "offers": access.offers(administrator=access.is_admin(user)),
            "workers": access.is_anyone_there(),
            "looking": access.is_looking(),
            "bases": queries.bases(self.viewer),
            "relations": BaseModel.Relation.choices,
        }


def read(request: HttpRequest, *, sent: bool) -> RegisterForm:
    """The form as it opens, filled in as its address says, or as it was sent."""
    given = request.POST if sent else request.GET
    typed = {name: given.get(name, "").strip() for name in FIELDS}
    typed["aliases"] = typed["aliases"] or given.get("alias", "").strip()
    form = RegisterForm(viewer=access.viewer_of(request), typed=typed, held=bool(given.get("held")))
    file = request.FILES.get("config_file") if sent else None
    if file is not None:
        with refusal_of(form.refused):
            typed["config"] = _text(file)
    return form


def _text(file) -> str:
    if file.size > MAX_CONFIG:
        raise Invalid(
            f"{file.name} has {file.size:,} bytes; a config.json has at most {MAX_CONFIG:,}. Choose the model's "
            "config.json, not its weights. A GGUF needs none: put it where a worker looks, as HUB_BASES/ORG/NAME.gguf "
            "on its machine, and it is offered here.",
            field="config",
        )
    try:
        return file.read().decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid(f"{file.name} is not text. Choose the model's config.json.", field="config") from None
