"""Registering base models.

Registering needs the `config.json` alone; a `fingerprint` job reads the shapes of all weights from it on a worker.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Lower

from composition.formats.strict_json import shorten
from hub.access.bases import alias_named, is_admin, may_change
from hub.errors import Conflict, HubError, Invalid, PermissionDenied
from hub.models import FINAL, BaseAlias, BaseModel, Job, User, fold
from hub.names import BASE_NAME, BASE_REVISION
from hub.services import quotas
from hub.services.audit import record
from hub.services.base_configs import checked_config, held_config
from hub.services.base_owners import drop_alias, refuse_reserved, require_owner, transfer_base
from hub.services.content.manifest import canonical_json
from hub.services.jobs.queue import queue_job
from hub.services.jobs.request import JobRequest
from hub.services.known_bases import hold, set_shapes

PART = re.compile(r"\w[\w.@-]*", re.ASCII)
MAX_ALIASES = 50
MAIN = "main"


@transaction.atomic
def register_base(
    *,
    actor: User,
    name: str,
    config: Mapping[str, object] | None = None,
    revision: str = "main",
    derived_from: BaseModel | None = None,
    relation: str = "",
    aliases: Sequence[str] = (),
    license: str = "",
    source: Mapping[str, object] | None = None,
    known: Mapping[str, Any] | None = None,
    site_admin: bool | None = None,
) -> tuple[BaseModel, Job | None]:
    """The base and the job that reads its shapes (None where they are known). Registering it again changes nothing.
    Without `config` it is that of the base as it is registered, else of the model that a worker holds under the name.
    `known` are the shapes, fingerprint and parameters that another hub has read, as `set_shapes` takes them.

    Conflict where the name and revision stand for another config (one that no worker could read is replaced, if its
    owner asks), or a name for another base. Only its owner and
    administrators say where its weights are and what else it is called: `base.owner` for others. `base.reserved` for
    names below HUB_RESERVED_BASES. `site_admin` False: the actor does not act as an administrator here.
    """
    _check_names(name, revision)
    if config is None:
        config, held = held_config(name, revision, administrator=is_admin(actor, site_admin))
        source = source or held
    config = checked_config(config)
    _check_relation(derived_from, relation)
    source = _checked_source(source)
    derived_from = derived_from and hold(derived_from)
    name = _settle_name(actor, name, revision, site_admin)
    administrator = is_admin(actor, site_admin)
    given = {
        "name": name,
        "config": config,
        "derived_from": derived_from,
        "relation": relation,
        "license": license[:100],
        "created_by": actor,
    }
    if not BaseModel.objects.filter(name__iexact=name, revision=revision).exists():
        quotas.require("bases", actor)
    base, created = BaseModel.objects.get_or_create(name__iexact=name, revision=revision, defaults=given)
    # Two registrations of one base wait for each other here, so that one of them queues the job.
    base = hold(base)
    if created:
        record(actor, "base.register", base, relation=relation, derived_from=str(derived_from or ""))
    elif canonical_json(base.config) != canonical_json(config) and not _same_when_checked(base.config, config):
        _replace_config(actor, base, config, site_admin)
    if source and (source != base.source or (administrator and not base.source_by_admin)):
        require_owner(actor, base, "say where its weights are", site_admin=site_admin)
        _refuse_another_s_folder(base, source, administrator)
        base.source, base.source_by_admin = source, administrator
        base.save(update_fields=["source", "source_by_admin"])
        record(actor, "base.source", base, source=source)
    add_aliases(actor=actor, base=base, aliases=aliases, site_admin=site_admin)
    if known:
        base = set_shapes(base=base, **known)
    return base, _fingerprint_job(actor, base)


@transaction.atomic
def change_base(
    *,
    actor: User,
    base: BaseModel,
    owner: str | None = None,
    names: Sequence[str] = (),
    drop: Sequence[str] = (),
    site_admin: bool | None = None,
) -> None:
    """Give the base other `names`, `drop` some, give it another owner: all or nothing. `base.owner` as the others."""
    require_owner(actor, base, "change it", site_admin=site_admin)
    for alias in drop:
        drop_alias(actor=actor, base=base, alias=alias, site_admin=site_admin)
    add_aliases(actor=actor, base=base, aliases=names, site_admin=site_admin)
    if owner is not None:
        transfer_base(actor=actor, base=base, to=owner, site_admin=site_admin)


@transaction.atomic
def add_aliases(*, actor: User, base: BaseModel, aliases: Sequence[str], site_admin: bool | None = None) -> None:
    """Let `aliases` (another spelling, a quantised copy, a local path) stand for `base`."""
    for alias in dict.fromkeys(aliases):
        if not isinstance(alias, str) or not alias.strip() or len(alias) > 300 or not alias.isprintable():
            given = shorten(alias)
            raise Invalid(f"{given} can't be an alias: give 1 to 300 printable characters.", field="aliases")
        folded = fold(alias)
        names = {folded, folded.rpartition("@")[0]} - {""}
        taken = BaseModel.objects.annotate(lower=Lower("name")).filter(lower__in=names).exclude(name=base.name).first()
        row = alias_named(alias)
        if taken:
            raise Conflict(
                f"{alias!r} can't be an alias: it is the name of {taken}.", code="base.alias", field="aliases"
            )
        if row is None:
            require_owner(actor, base, "give it other names", site_admin=site_admin)
            refuse_reserved(actor, alias, "aliases", site_admin=site_admin)
            if settings.ALIASES_A_BASE and (used := base.aliases.count()) >= settings.ALIASES_A_BASE:
                raise quotas.aliases_exceeded(base, used)
            row, _ = BaseAlias.objects.get_or_create(folded=folded, defaults={"base": base, "name": alias})
            record(actor, "base.alias", base, alias=alias)
        if row.base_id != base.pk:
            raise Conflict(f"{alias!r} already stands for {row.base}.", code="base.alias", field="aliases")


def _replace_config(actor: User, base: BaseModel, config: Mapping[str, object], site_admin: bool | None) -> None:
    """Another config for a base whose own could not be read, from its owner; a Conflict for any other base.

    Without shapes no adapter was ever checked against the base, so that it may still become what it is to be.
    """
    reading = Job.objects.filter(kind="fingerprint", base=base).exclude(state__in=FINAL).exists()
    if not base.error or base.shapes is not None or reading or not may_change(actor, base, site_admin=site_admin):
        raise Conflict(
            f"{base} is registered with another config. Register yours under another revision, "
            f"hubctl base add {base.name} --revision NAME --config config.json, or under a name of yours.",
            code="base.config",
            field="name",
        )
    base.config, base.error = dict(config), ""
    base.save(update_fields=["config", "error"])
    record(actor, "base.config", base)


def _settle_name(actor: User, name: str, revision: str, site_admin: bool | None) -> str:
    """The name as its first revision spells it; refused where it is reserved, another base's alias, or another's name.

    Others may add revisions of a name, but none that changes what the plain name stands for.
    """
    first = BaseModel.objects.filter(name__iexact=name).select_related("created_by").order_by("pk").first()
    if first is None:
        refuse_reserved(actor, name, "name", site_admin=site_admin)
        alias = alias_named(name)
        if alias:
            raise Conflict(
                f"{name!r} already stands for {alias.base}, as an alias. Use another name, or ask its owner or an "
                f"administrator to take the alias off: hubctl base alias {alias.base} --drop {name}.",
                code="base.alias",
                field="name",
            )
        return name
    revisions = BaseModel.objects.filter(name__iexact=name)
    if revisions.filter(revision=revision).exists():
        return first.name
    refuse_reserved(actor, name, "name", site_admin=site_admin)
    if revision == MAIN or not revisions.filter(revision=MAIN).exists():
        require_owner(actor, first, "register what its plain name stands for", site_admin=site_admin)
    return first.name


def _refuse_another_s_folder(base: BaseModel, source: Mapping[str, object], administrator: bool) -> None:
    """The workers' folders hold the weights of every base: an owner names their base's own, administrators any."""
    if source.get("kind") == "folder" and source["path"] != base.folder and not administrator:
        raise PermissionDenied(
            f"source names the folder {source['path']!r}. The owner of {base} may name {base.folder!r}, the folder of "
            "that base; any other is an administrator's to name. Have the weights put there, or ask an administrator.",
            code="base.folder",
            field="source",
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
    if not BASE_REVISION.fullmatch(revision):
        raise Invalid(f"{revision!r} can't be a base's revision: use letters, digits, '.', '_', '-'.", field="revision")


def _same_when_checked(stored: Mapping[str, object], config: Mapping[str, object]) -> bool:
    """Whether a stored config is this one, but for fields that a check of today drops."""
    try:
        return canonical_json(checked_config(stored)) == canonical_json(config)
    except HubError:
        return False


def _checked_source(source: object) -> dict[str, str]:
    """The source with nothing but what its kind takes."""
    if not source:
        return {}
    given = dict(source) if isinstance(source, Mapping) else {}
    where, path, package = (given.get(key) for key in ("kind", "path", "package"))
    parts = path.split("/") if isinstance(path, str) else []
    below = bool(parts) and all(PART.fullmatch(part) for part in parts)
    known = (
        (where == "hf" and given.keys() == {"kind"})
        or (where == "gguf" and isinstance(package, str) and given.keys() == {"kind", "package"})
        or (where == "folder" and below and given.keys() == {"kind", "path"})
    )
    if not known:
        raise Invalid(
            f"source is {shorten(source)}. Give {{'kind': 'gguf', 'package': NAME}}, {{'kind': 'hf'}}, or "
            "{'kind': 'folder', 'path': FOLDER} below the workers' HUB_BASES: org/name, not /org/name.",
            code="base.source",
            field="source",
        )
    return given


def _check_relation(derived_from: BaseModel | None, relation: str) -> None:
    if relation and relation not in BaseModel.Relation.values:
        raise Invalid(
            f"{relation!r} is not a relation; choose one of {', '.join(BaseModel.Relation.values)}.", field="relation"
        )
    if bool(relation) != (derived_from is not None):
        raise Invalid("Give derived_from and relation together: what it comes from, and how.", field="relation")
