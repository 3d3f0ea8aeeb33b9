"""What is known of the bases: which one a config means, the shapes of its weights, and why there are none yet."""

from collections.abc import Mapping, Sequence

from django.db import transaction

from composition.base_shapes import BaseShapes
from hub.access.base_advice import how_to_register
from hub.access.base_guesses import guess
from hub.access.bases import alias_named
from hub.errors import Conflict, Invalid, NotFound
from hub.models import BaseModel, Job


@transaction.atomic
def set_shapes(*, base: BaseModel, shapes: Mapping[str, Sequence[int]], fingerprint: str, parameters: int) -> BaseModel:
    """Keep what the `fingerprint` job read: weight name → shape, [out, in] of a Linear. Once set they never change."""
    base = BaseModel.objects.select_for_update().get(pk=base.pk)
    if base.shapes is not None and base.fingerprint != fingerprint:
        raise Conflict(
            f"{base} has the shapes {base.fingerprint} already; these are {fingerprint}.", code="base.shapes"
        )
    base.shapes = {name: [int(length) for length in shape] for name, shape in shapes.items()}
    base.fingerprint, base.parameters, base.error = fingerprint, parameters, ""
    base.save(update_fields=["shapes", "fingerprint", "parameters", "error"])
    return base


def set_shapes_error(*, base: BaseModel, error: str) -> None:
    """Keep why the shapes could not be read, for anyone who pushes an adapter of this base."""
    BaseModel.objects.filter(pk=base.pk, shapes__isnull=True).update(error=error[:2000])


def match_base(name: str | None, revision: str | None = None) -> BaseModel | None:
    """The base a config's `base_model_name_or_path` means: by name (its `revision`, else main), else by alias, else
    as `name@revision`."""
    if not name:
        return None
    named = list(BaseModel.objects.filter(name__iexact=name).order_by("pk"))
    if named:
        by_revision = {base.revision: base for base in named}
        return by_revision.get(revision or "main") or (named[0] if len(named) == 1 and not revision else None)
    if alias := alias_named(name):
        return alias.base
    plain, _, written = name.rpartition("@")
    return match_base(plain, written) if plain and not revision else None


def hold(base: BaseModel) -> BaseModel:
    """The base's row, which nobody deletes until this transaction ends; NotFound where somebody has."""
    found = BaseModel.objects.select_for_update(of=("self",), no_key=True).select_related("created_by")
    row = found.filter(pk=base.pk).first()
    if row is None:
        raise NotFound(f"The base {base} was deleted in the meantime. Name another one.", code="base_not_found")
    return row


def unknown_base(name: str | None, config: str, revision: str | None = None) -> Invalid:
    """The refusal of files whose base isn't known: what their config says, what there is, what to do."""
    known = list(BaseModel.objects.order_by("name").values_list("name", flat=True).distinct()[:20])
    facts: dict[str, object] = {"field": "base", "given": name, "known": known}
    if found := guess(name, revision):
        said = f"{config} names the base {name!r}, {found.said}. {found.do}"
        return Invalid(said, code="base.unknown", **{**facts, **found.facts})
    said = (
        f"{config} names the base {name!r}, which is not registered here"
        if name
        else f"{config} names no base model (base_model_name_or_path)"
    )
    there = f"Registered are: {', '.join(known)}." if known else "No base is registered yet."
    advice = how_to_register(name)
    instead = " If it is one of them, name that: hubctl push FOLDER NAME --base BASE." if known else ""
    return Invalid(f"{said}. {there}{instead} {advice}.", code="base.unknown", **{**facts, **advice.facts})


def require_shapes(base: BaseModel) -> BaseShapes:
    """The base's shapes with what its config says of it, or Invalid saying what to wait for."""
    if base.shapes is not None:
        return BaseShapes(base.shapes, config=base.config)
    job = Job.objects.filter(kind="fingerprint", base=base).order_by("-pk").first()
    facts: dict[str, str] = {}
    if base.error:
        advice = how_to_register(str(base))
        facts = advice.facts
        say = f"they could not be read: {base.error} Its owner mends that with another config.json. {advice}"
    elif job:
        say = f"job {job.pk} is still reading them. Wait for it (hubctl jobs watch {job.pk}) and commit again"
    else:
        advice = how_to_register(str(base))
        facts = advice.facts
        say = f"nobody has read them yet. {advice}"
    raise Invalid(
        f"The shapes of the base {base} are not known: {say}.",
        code="base.not_ready",
        base=str(base),
        job=job and job.pk,
        **facts,
    )
