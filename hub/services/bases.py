"""Registering base models.

Registering needs the `config.json` alone; a `fingerprint` job reads the shapes of all weights from it on a worker.
"""

import re
from collections.abc import Mapping, Sequence

from django.conf import settings
from django.db import transaction

from hub.errors import Conflict, Invalid, PermissionDenied
from hub.models import BaseAlias, BaseModel, Job, User
from hub.names import BASE_NAME
from hub.services import quotas
from hub.services.audit import record
from hub.services.content.manifest import canonical_json
from hub.services.jobs.queue import queue_job
from hub.services.jobs.request import JobRequest

REVISION = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
PART = re.compile(r"\w[\w.@-]*", re.ASCII)
MAX_CONFIG = 1_000_000
MAX_ALIASES = 50
# Keys by which transformers would import code that comes with a checkpoint.
CODE_FIELDS = ("auto_map", "custom_pipelines", "_attn_implementation_internal")


@transaction.atomic
def register_base(
    *,
    actor: User,
    name: str,
    config: Mapping[str, object],
    revision: str = "main",
    derived_from: BaseModel | None = None,
    relation: str = "",
    aliases: Sequence[str] = (),
    license: str = "",
    source: Mapping[str, object] | None = None,
) -> tuple[BaseModel, Job | None]:
    """The base and the job that reads its shapes (None where they are known). Registering it again changes nothing.

    Conflict where the name and revision stand for another config, or an alias for another base. Only who registered it
    and administrators say where its weights are and what else it is called: `base.owner` for others.
    """
    _check_names(name, revision)
    _check_config(config)
    _check_relation(derived_from, relation)
    _check_source(source or {})
    given = {
        "name": name,
        "config": config,
        "derived_from": derived_from,
        "relation": relation,
        "license": license[:100],
        "source": source or {},
        "created_by": actor,
    }
    if not BaseModel.objects.filter(name__iexact=name, revision=revision).exists():
        quotas.require("bases", actor)
    base, created = BaseModel.objects.get_or_create(name__iexact=name, revision=revision, defaults=given)
    # Two registrations of one base wait for each other here, so that one of them queues the job.
    base = BaseModel.objects.select_for_update(of=("self",)).get(pk=base.pk)
    if created:
        record(actor, "base.register", base, relation=relation, derived_from=str(derived_from or ""))
    elif canonical_json(base.config) != canonical_json(config):
        raise Conflict(
            f"{base} is registered with another config. Register yours under another revision: "
            f"hubctl base add {name} --revision NAME.",
            code="base.config",
        )
    elif source and source != base.source:
        _require_owner(actor, base, "say where its weights are")
        base.source = dict(source)
        base.save(update_fields=["source"])
        record(actor, "base.source", base)
    add_aliases(actor=actor, base=base, aliases=aliases)
    return base, _fingerprint_job(actor, base)


@transaction.atomic
def add_aliases(*, actor: User, base: BaseModel, aliases: Sequence[str]) -> None:
    """Let `aliases` (another spelling, a quantised copy, a local path) stand for `base`."""
    for alias in dict.fromkeys(aliases):
        if not isinstance(alias, str) or not alias.strip() or len(alias) > 300 or not alias.isprintable():
            raise Invalid(f"{alias!r} can't be an alias: give 1 to 300 printable characters.", field="aliases")
        taken = BaseModel.objects.filter(name__iexact=alias).exclude(name=base.name).first()
        row = BaseAlias.objects.filter(name=alias).select_related("base").first()
        if taken:
            raise Conflict(
                f"{alias!r} can't be an alias: it is the name of {taken}.", code="base.alias", field="aliases"
            )
        if row is None:
            _require_owner(actor, base, "give it other names")
            if settings.ALIASES_A_BASE and (used := base.aliases.count()) >= settings.ALIASES_A_BASE:
                raise quotas.aliases_exceeded(base, used)
            row, _ = BaseAlias.objects.get_or_create(name=alias, defaults={"base": base})
            record(actor, "base.alias", base, alias=alias)
        if row.base_id != base.pk:
            raise Conflict(f"{alias!r} already stands for {row.base}.", code="base.alias", field="aliases")


def _require_owner(actor: User, base: BaseModel, what: str) -> None:
    """Refuse who did not register the base and is no administrator: its source and aliases decide what others load."""
    if base.created_by_id != actor.pk and not actor.is_staff:
        owner = base.created_by.username if base.created_by else "an administrator"
        raise PermissionDenied(
            f"{base} was registered by {owner}; only they or an administrator may {what}. Ask them, or register your "
            f"own under another name or revision: hubctl base add {base.name} --revision NAME.",
            code="base.owner",
        )


def _fingerprint_job(actor: User, base: BaseModel) -> Job | None:
    if base.shapes is not None:
        return None
    waiting = Job.objects.filter(kind="fingerprint", base=base).order_by("-pk").first()
    if waiting and not waiting.is_final:
        return waiting
    return queue_job(actor=actor, request=JobRequest(kind="fingerprint", base=base))


def _check_names(name: str, revision: str) -> None:
    if not BASE_NAME.fullmatch(name):
        raise Invalid(
            f"{name!r} can't name a base: write org/name, as in HuggingFaceTB/SmolLM2-135M-Instruct.", field="name"
        )
    if not REVISION.fullmatch(revision):
        raise Invalid(f"{revision!r} can't be a base's revision: use letters, digits, '.', '_', '-'.", field="revision")


def _check_config(config: object) -> None:
    if not isinstance(config, Mapping) or not isinstance(config.get("model_type"), str):
        raise Invalid("A base needs its config.json: an object with at least a model_type.", field="config")
    if any(config.get(key) for key in CODE_FIELDS):
        found = next(key for key in CODE_FIELDS if config.get(key))
        raise Invalid(
            f"config.json names code to import ({found}), which this hub never runs. Remove the field if "
            "transformers knows the architecture itself; otherwise this base can't be registered.",
            field="config",
            code="base.code",
        )
    try:
        size = len(canonical_json(config))
    except (ValueError, TypeError, RecursionError):
        raise Invalid("config.json holds NaN, infinity or nests too deeply.", field="config") from None
    if size > MAX_CONFIG:
        raise Invalid(f"config.json has {size:,} bytes; at most {MAX_CONFIG:,} are allowed.", field="config")


def _check_source(source: Mapping[str, object]) -> None:
    where, path, package = (source.get(key) for key in ("kind", "path", "package"))
    parts = path.split("/") if isinstance(path, str) else []
    below = bool(parts) and all(PART.fullmatch(part) for part in parts)
    known = where == "hf" or (where == "gguf" and isinstance(package, str)) or (where == "folder" and below)
    if source and not known:
        raise Invalid(
            f"source is {dict(source)}. Give {{'kind': 'gguf', 'package': NAME}}, {{'kind': 'hf'}}, or "
            "{'kind': 'folder', 'path': FOLDER} below the workers' HUB_BASES: org/name, not /org/name.",
            code="base.source",
            field="source",
        )


def _check_relation(derived_from: BaseModel | None, relation: str) -> None:
    if relation and relation not in BaseModel.Relation.values:
        raise Invalid(
            f"{relation!r} is not a relation; choose one of {', '.join(BaseModel.Relation.values)}.", field="relation"
        )
    if bool(relation) != (derived_from is not None):
        raise Invalid("Give derived_from and relation together: what it comes from, and how.", field="relation")
