"""The dry run: what a job would do, cost and run into, from header facts alone, before anything is queued."""

from collections.abc import Mapping, Sequence

from composition.errors import CompositionError
from composition.facts import AdapterFacts
from composition.recipes import Recipe, recipe_from_dict
from composition.recipes.generate import VERB
from composition.recipes.train_generator import TRAIN_VERB
from composition.registry import METHODS
from hub import access
from hub.errors import HubError, Invalid
from hub.licences import combined, conflicts
from hub.models import BaseModel, Kind, Namespace, Repository, User, Version, Visibility
from hub.names import check_repository
from hub.services import assembly_check, assembly_growth, generation_check, transfer_check
from hub.services.content.dataset_rows import prompt_rows
from hub.services.job_cost import estimate
from hub.services.jobs import files as job_files
from hub.services.jobs.scheduling import able_workers, bases_for, waiting_sentence

ARTICLE = {Kind.ADAPTER: "an", Kind.GENERATOR: "a", Kind.DATASET: "a"}


def check_job(
    *,
    actor: User,
    kind: str,
    recipe: dict,
    inputs: Sequence[Version] = (),
    datasets: Sequence[Version] = (),
    output: tuple[str, str] | None = None,
    base: BaseModel | None = None,
    visibility: str | None = None,
    files: Mapping[str, object] | None = None,
    others: Mapping[str, Version] | None = None,
    keep: Sequence[str] = (),
) -> dict:
    """What `queue_job` with the same arguments would meet.

    {"ok", "problems": [{code, message, …}], "inputs": [{"name", "fits", "reason"}], "ranks": {module: r}, "rank",
    "bytes", "seconds", "memory", "licence", "licence_conflicts": [str], "visibility", "workers": [name],
    "waiting_for", "files": [{role, name, …facts}], "notes": [str], "shortcuts": [{kind, label, reason}]}; `seconds`,
    `memory` and `bytes` are estimates.
    """
    problems: list[dict] = []
    given: list[job_files.Given] = []
    parsed = _tried(problems, lambda: parse(kind, recipe, inputs))
    base, others = _tried(problems, lambda: generation_check.completed(actor, kind, base, others or {})) or (base, {})
    _tried(problems, lambda: generation_check.check_keep(kind, keep))
    fits = [{"name": named(version), **_fit(kind, inputs, version)} for version in inputs]
    if parsed is not None:
        datasets = _tried(problems, lambda: data_of(actor, parsed, inputs, datasets)) or datasets
        if not problems:
            _tried(problems, lambda: check_inputs(kind, parsed, inputs, datasets, base, others))
        asked = {
            "actor": actor,
            "kind": kind,
            "recipe": parsed,
            "inputs": inputs,
            "asked": files or {},
            "others": others,
        }
        given = _tried(problems, lambda: job_files.find(**asked)) or []
        if not any(problem.get("field") == "files" or problem["code"].startswith("seeds") for problem in problems):
            _tried(problems, lambda: transfer_check.check_files(parsed, given, datasets))
            _tried(problems, lambda: generation_check.check_files(parsed, base, given))
    parents = generation_check.parents_of(kind, inputs, datasets, others)
    visibility = generation_check.asked_visibility(kind, visibility)
    if METHODS.get(kind) and METHODS[kind].makes_adapter:
        place = output or transfer_check.output_of(kind, inputs)
        _tried(problems, lambda: check_output(actor, kind, place, parents, visibility))
    ok = not problems
    named_licences = [(named(version), version.repository.license) for version in parents]
    target, base = base, base or (inputs[0].base if inputs else None)
    needed = bases_for(kind, inputs, base)
    report = {
        "ok": ok,
        "problems": problems,
        "inputs": fits,
        "licence": combined([licence for _, licence in named_licences])[0],
        "licence_conflicts": conflicts(named_licences),
        "visibility": resulting_visibility(parents, visibility),
        "workers": [worker.name for worker in able_workers(kind, needed)],
        "waiting_for": waiting_sentence(kind, needed) if base or not generation_check.makes_or_uses(kind) else "",
        "files": [{**file.facts, "role": file.role, "name": file.name} for file in given],
        "notes": transfer_check.notes(parsed, given)
        + generation_check.notes(parsed, given, others, resulting_visibility(parents, visibility)),
        "shortcuts": transfer_check.shortcuts(kind, inputs, target),
        **dict.fromkeys(("ranks", "rank", "bytes", "seconds", "memory")),
    }
    if ok and generation_check.makes_or_uses(kind):
        return report | generation_check.estimate(parsed, given, base, others)
    return report | (estimate(METHODS[kind], parsed, inputs, datasets, base) if ok else {})


def parse(kind: str, recipe: dict, inputs: Sequence[Version] = ()) -> Recipe:
    """The recipe of these fields, with what a mixture that grows decides; RecipeError names the one that is wrong."""
    return recipe_from_dict({**assembly_growth.continued(kind, recipe, inputs), "kind": kind})


def data_of(actor: User, recipe: Recipe, inputs: Sequence[Version], datasets: Sequence[Version]) -> list[Version]:
    """The datasets given, and before them those that a mixture among the inputs learnt from."""
    trains = getattr(recipe, "trains", False)
    return assembly_growth.with_earlier_data(actor, recipe.kind, inputs, datasets, trains)


def check_inputs(
    kind: str,
    recipe: Recipe,
    inputs: Sequence[Version],
    datasets: Sequence[Version],
    base: BaseModel | None,
    others: Mapping[str, Version] | None = None,
) -> None:
    """Refuse inputs that this method can't take: too many, of the wrong kind, of different bases, of unfit facts."""
    needs = METHODS[kind].needs
    if generation_check.makes_or_uses(kind):
        generation_check.check_parties(kind, recipe, inputs, datasets, base, others or {})
        return
    for wanted, versions, field in ((Kind.ADAPTER, inputs, "inputs"), (Kind.DATASET, datasets, "datasets")):
        for version in versions:
            if version.repository.kind != wanted:
                raise Invalid(f"{named(version)} is a {version.repository.kind}; give {wanted}s here.", field=field)
    if len(inputs) < needs.min_inputs or (needs.max_inputs is not None and len(inputs) > needs.max_inputs):
        few = len(inputs) < needs.min_inputs
        wanted = f"at least {needs.min_inputs}" if few else f"at most {needs.max_inputs}"
        raise Invalid(f"{METHODS[kind].label} takes {wanted} adapters, got {len(inputs)}.", field="inputs")
    verb = METHODS[kind].verb
    if verb in ("transfer", "discriminator"):
        transfer_check.check_parties(kind, recipe, inputs, datasets, base)
        return
    if verb != "assemble" and len(datasets) != int(verb == "evaluate"):
        wanted = "one dataset" if verb == "evaluate" else "no dataset"
        raise Invalid(f"{METHODS[kind].label} takes {wanted}, got {len(datasets)}.", field="datasets")
    if verb == "evaluate":
        _check_evaluation(recipe, inputs, datasets[0], base)
        return
    for version in inputs[1:]:
        if reason := _other_base(inputs[0], version):
            raise Invalid(f"{named(version)}: {reason}", code="merge.bases_differ", field="inputs")
    if base and inputs and inputs[0].base_id != base.pk:
        raise Invalid(f"The adapters belong to {inputs[0].base}, not to {base}.", field="base")
    if verb == "assemble":
        assembly_growth.check(recipe, inputs)
    recipe.check(assembly_growth.experts(kind, inputs))
    if verb == "assemble":
        assembly_check.check_data(recipe, inputs, datasets)
    if verb == "try" and inputs[0].base is None:
        raise Invalid(f"{named(inputs[0])} belongs to no base this hub knows: push it with its base.", field="base")


def check_output(
    actor: User,
    kind: str,
    output: tuple[str, str] | None,
    parents: Sequence[Version],
    asked: str | None = None,
) -> tuple[Namespace, str]:
    """Where the result may go: a free name, or a repository of its kind the actor may write to."""
    wanted = result_kind(kind)
    if not output or not all(output):
        raise Invalid(
            f"{METHODS[kind].label} makes {ARTICLE[wanted]} {wanted}; say where it goes: namespace/name.",
            field="output",
        )
    viewer = access.Viewer(user=actor)
    namespace = access.namespace(viewer, str(output[0]), "write")
    name = check_repository(output[1])
    taken = Repository.objects.filter(namespace=namespace, name__iexact=name).first()
    if taken is None:
        return namespace, name
    if taken.deleted_at:
        raise Invalid(f"{namespace.name}/{name} is in the trash; restore it or choose another name.", field="output")
    if taken.kind != wanted:
        raise Invalid(
            f"{taken.full_name} is {ARTICLE[taken.kind]} {taken.kind}; the result is {ARTICLE[wanted]} {wanted}.",
            field="output",
        )
    if taken.visibility == Visibility.PUBLIC and resulting_visibility(parents, asked) == Visibility.PRIVATE:
        raise Invalid(
            f"{taken.full_name} is public, but {_why_private(kind, parents)}. "
            "Choose another name, or make it private first.",
            code="output.too_public",
            field="output",
        )
    return namespace, taken.name


def _why_private(kind: str, parents: Sequence[Version]) -> str:
    if resulting_visibility(parents) == Visibility.PRIVATE:
        return f"what is made of a private {parents[0].repository.kind} is private"
    if generation_check.verb_of(kind) == VERB:
        return "what is made from a text is private unless you ask for a public adapter"
    return "you ask for a private result"


def resulting_visibility(inputs: Sequence[Version], asked: str | None = None) -> str:
    """The strictest of the parents' visibilities and the one asked for."""
    if asked not in (None, "", *Visibility.values):
        raise Invalid(f"{asked!r} is no visibility; choose public or private.", field="visibility")
    all_of_them = [asked, *(version.repository.visibility for version in inputs)]
    return Visibility.PRIVATE if Visibility.PRIVATE in all_of_them else Visibility.PUBLIC


def result_kind(kind: str) -> str:
    """The kind of repository that a job of this kind makes."""
    return Kind.GENERATOR if generation_check.verb_of(kind) == TRAIN_VERB else Kind.ADAPTER


def named(version: Version) -> str:
    """`namespace/name@v1`."""
    return f"{version.repository.full_name}@{version.label}"


def _check_evaluation(recipe: Recipe, inputs: Sequence[Version], dataset: Version, base: BaseModel | None) -> None:
    if not inputs and base is None:
        raise Invalid("Give an adapter to evaluate, or the base alone.", field="base")
    if inputs and base and inputs[0].base_id != base.pk:
        raise Invalid(f"{named(inputs[0])} belongs to {inputs[0].base}, not to {base}.", field="base")
    prompt_rows(dataset, recipe.split, "an evaluation")
    if "choice" in recipe.metrics and not dataset.facts.get("has_choices"):
        raise Invalid(
            f"{named(dataset)} has no row with choices, which the metric `choice` needs. Leave that metric out.",
            field="metrics",
        )


def _fit(kind: str, inputs: Sequence[Version], version: Version) -> dict:
    """Whether `version` can stand beside the first input, and why not."""
    method = METHODS.get(kind)
    own = ("transfer", "discriminator", *generation_check.ROLES)
    if method is None or not method.makes_adapter or method.verb in own:
        return {"fits": True, "reason": ""}
    reason = _other_base(inputs[0], version)
    facts = AdapterFacts.from_dict(version.facts)
    if not reason and version == inputs[0] and assembly_growth.grows(kind, inputs):
        return {"fits": True, "reason": ""}
    if not reason and facts.needs_base:
        reason = " ".join(f"{need['reason']} {need['do']}" for need in facts.needs_base)
    return {"fits": not reason, "reason": reason}


def _other_base(first: Version, version: Version) -> str:
    if version.base_id == first.base_id:
        return ""
    return f"It belongs to the base {version.base}, but {named(first)} to {first.base}; a merge needs one base."


def _tried(problems: list[dict], act):
    """The act's answer; what it refuses goes to `problems`."""
    try:
        return act()
    except CompositionError as error:
        problems.append(error.to_dict())
    except HubError as error:
        problems.append({"code": error.code, "message": error.message, **error.facts})
