"""What the hub asks of a kind of job, with the answers that suit one which makes an adapter out of adapters.

A kind has one home in each room: here what it takes, refuses, costs and tells; in `workers.kinds` how a worker runs
it; in `composition` its recipe and function. A home stands for a family of recipes: it serves the methods whose recipe
is of its class `recipe`, or derived from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from composition.errors import CompositionError, RecipeError
from composition.facts import AdapterFacts
from composition.recipes.base import Inputs, Recipe
from composition.recipes.method import Method
from hub import broker
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import BaseModel, Kind, Version
from hub.services.base_families import other_base
from hub.services.jobs.draft import Draft
from hub.services.jobs.files import Given
from hub.services.jobs.request import JobRequest
from hub.services.jobs.scheduling import queue_of

SECONDS_TO_START = 1.0
BYTES_READ = 3e8  # a second
GPU = 50.0  # times faster than one core in fp32, measured on bases of about 135M parameters
ITEMSIZE = {"float32": 4, "float16": 2, "bfloat16": 2}
ARTICLE = {Kind.ADAPTER: "an", Kind.GENERATOR: "a", Kind.DATASET: "a"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """An input with a role of its own, beside adapters and datasets: one version of a repository of this kind."""

    name: str
    kind: str
    help: str


class JobKind:
    """One kind of job. `roles` are inputs of their own, `keeps` kinds of companions that may be kept beside a result.

    `stages` name the parts of the work whose progress tells `stage`. Hooks raise Invalid or CompositionError.
    """

    recipe: ClassVar[type[Recipe]]
    roles: ClassVar[tuple[Role, ...]] = ()
    keeps: ClassVar[tuple[str, ...]] = ()
    datasets: ClassVar[int] = 0
    stages: ClassVar[tuple[str, ...]] = ()
    changes_base: ClassVar[bool] = False
    """Whether the result belongs to another base than the input, and a verdict says what was lost."""
    again_at: ClassVar[str] = ""
    """The page whose form takes an earlier job's recipe, by its route's name; "" where none does."""
    seen_at: ClassVar[str] = ""
    """The page of the first input where an answer is looked at, by its route's name; "" where there is none."""
    answer_page: ClassVar[str] = ""
    """The template of what is shown of an answer on the job's page; "" where its kind needs none."""
    names_inputs: ClassVar[bool] = False
    """Whether an answer calls private inputs by their place, for the hub to put their names in."""
    awaited: ClassVar[bool] = False
    """Whether somebody sits waiting for the answer, which takes seconds: such a job comes before its owner's others."""
    reads_data: ClassVar[bool] = False
    """Whether there may be datasets to learn from, any number of them."""
    makes: ClassVar[str | None] = Kind.ADAPTER
    """The kind of repository where a result goes; None for what goes into none."""
    moves: ClassVar[tuple[str, ...]] = ("main", "latest")
    """The refs that its result moves there."""

    # The request, completed.

    def received(self, request: JobRequest) -> JobRequest:
        """The request with what takes long to read already read. It raises nothing: what can't be read is refused in
        its turn. It happens before the job's transaction, since a transaction may hold the database's one lock."""
        return request

    def recipe_of(self, request: JobRequest) -> Mapping[str, object]:
        """The recipe's fields, with those that the inputs decide."""
        return request.recipe

    def completed(self, viewer: Viewer, request: JobRequest) -> JobRequest:
        """The request with the base and the inputs that follow from the rest of it."""
        return request

    def with_data(self, viewer: Viewer, recipe: Recipe, request: JobRequest) -> JobRequest:
        """The request with the datasets that follow from its inputs."""
        return request

    def grows(self, request: JobRequest) -> bool:
        """Whether the first input is what the others join, rather than one of them."""
        return False

    def labels_data(self, method: Method) -> bool:
        """Whether each adapter has a dataset of its own."""
        return False

    # What is refused.

    def check(self, draft: Draft) -> None:
        """Refuse inputs that the method can't take: too many, of the wrong kind, of different bases, of unfit facts."""
        self.check_counts(draft)
        self.check_bases(draft.request)
        self.check_facts(draft)

    def check_counts(self, draft: Draft) -> None:
        """Refuse repositories of another kind, and more or fewer of them than the method takes."""
        request, method = draft.request, draft.method
        for wanted, versions, field in (
            (Kind.ADAPTER, request.adapters, "inputs"),
            (Kind.DATASET, request.datasets, "datasets"),
        ):
            for version in versions:
                check_repository_kind(version, wanted, field)
        least, most, given = method.needs.min_inputs, method.needs.max_inputs, len(request.adapters)
        if given < least or (most is not None and given > most):
            wanted = f"at least {least}" if given < least else f"at most {most}"
            noun = "adapter" if wanted.endswith(" 1") else "adapters"
            raise Invalid(f"{method.label} takes {wanted} {noun}, got {given}.", field="inputs")
        self.check_datasets(draft)

    def check_datasets(self, draft: Draft) -> None:
        """Refuse another number of datasets than the kind reads."""
        given = len(draft.request.datasets)
        if given != self.datasets:
            wanted = {0: "no dataset", 1: "one dataset"}.get(self.datasets, f"{self.datasets} datasets")
            raise Invalid(f"{draft.method.label} takes {wanted}, got {given}.", field="datasets")

    def check_bases(self, request: JobRequest) -> None:
        """Refuse adapters of different bases, and a base that is not theirs."""
        refuse_other_bases(request)
        if request.base and request.adapters and request.adapters[0].base_id != request.base.pk:
            raise Invalid(f"The adapters belong to {request.adapters[0].base}, not to {request.base}.", field="base")

    def check_facts(self, draft: Draft) -> None:
        """Refuse adapters that the recipe can't take, by their header facts."""
        draft.recipe.check(self.facts(draft.request))

    def file_roles(self, method: Method) -> tuple[str, ...]:
        """Roles of the private files that a job of this method may have."""
        return ()

    def find_files(self, draft: Draft) -> list[Given]:
        """The job's private files, from the request's text or from what is kept; nothing is stored."""
        return []

    def check_file_roles(self, draft: Draft) -> None:
        """Refuse files of a role that the method does not read."""
        roles = self.file_roles(draft.method)
        for role in draft.request.files:
            if role not in roles:
                takes = ", ".join(roles) or "none"
                message = f"A job of the kind {draft.method.kind} has no file {role!r}; it takes: {takes}."
                raise Invalid(message, field="files")

    def check_files(self, draft: Draft) -> None:
        """Refuse private files that are missing, too many or don't suit."""

    # What comes of it.

    def place(self, request: JobRequest) -> tuple[str, str] | None:
        """(namespace, name) of a result whose place follows from the inputs; None where the asker says it."""
        return None

    def parents(self, request: JobRequest) -> list[Version]:
        """What the result is made from: a private one makes it private."""
        return list(request.adapters)

    def visibility(self, asked: str | None) -> str | None:
        """What was asked for, or what stands where nothing was."""
        return asked

    def why_private(self) -> str:
        """Why a result of public parents is private where nobody asked for it."""
        return "a private result was asked for"

    def bases(self, method: Method, adapters: Sequence[Version], base: BaseModel | None) -> list[BaseModel]:
        """The bases whose weights such a job reads."""
        return [base] if base is not None and method.needs.base_model else []

    # What is told before the start.

    def misfit(self, method: Method, first: Version, version: Version, recipe: Recipe | None = None) -> str:
        """Why `version` can't be combined with the first input, as a sentence; "" where it can."""
        return ""

    def cost(self, draft: Draft) -> dict[str, object]:
        """Ranks and bytes of the result, seconds and bytes of memory to make it; estimates."""
        ranks = draft.recipe.output_ranks(self.facts(draft.request))
        read = sum(version.facts.get("bytes") or 0 for version in draft.request.adapters)
        seconds = round(SECONDS_TO_START + read / BYTES_READ, 1)
        return {"ranks": ranks, "rank": max(ranks.values(), default=None), "seconds": seconds}

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        """What one should know before the start."""
        return []

    def shorter_ways(self, request: JobRequest) -> list[dict[str, str]]:
        """Methods that come to the same with less: [{"kind", "label", "reason"}]."""
        return []

    # What is told afterwards.

    def answer_without_sight(self, outcome: dict) -> dict | None:
        """What a watcher who can't see all inputs (any more) is told of an answer; None is nothing."""
        return None

    def facts(self, request: JobRequest) -> Inputs:
        """(name, header facts) of the inputs, as the recipe checks them."""
        return [(str(version), AdapterFacts.from_dict(version.facts)) for version in request.adapters]


def misfit(kind: JobKind, method: Method, first: Version, version: Version, recipe: Recipe | None = None) -> str:
    """Why `version` can't be combined with the first input, also where one of them is no adapter; "" where it can."""
    for one in (version, first):
        if not one.repository.is_adapter:
            return f"{one} is {a(one.repository.kind)}, not an adapter."
    return kind.misfit(method, first, version, recipe)


def refuse_other_bases(request: JobRequest, across: bool | None = None) -> None:
    """Refuse adapters of different bases; `across` as in `other_base`."""
    for version in request.adapters[1:]:
        if reason := other_base(request.adapters[0], version, across=across):
            raise Invalid(f"{version}: {reason}", code="merge.bases_differ", field="inputs")


def parameters_of(base: BaseModel | None) -> float:
    """How many parameters the base has, or a guess."""
    return float((base and base.parameters) or 1e8)


def speed_of(method: Method) -> float:
    """How many times faster than one core the method's queue is, roughly."""
    return GPU if queue_of(method) == broker.GPU else 1.0


def check_repository_kind(version: Version, wanted: str, field: str) -> None:
    """Refuse a version of another kind of repository."""
    if version.repository.kind != wanted:
        raise Invalid(f"{version} is {a(version.repository.kind)}; give {wanted}s here.", field=field)


def a(kind: str) -> str:
    """`an adapter`, `a dataset`."""
    return f"{ARTICLE[kind]} {kind}"


def unfit_facts(first: Version, version: Version, method: Method, recipe: Recipe | None) -> str:
    """Why these two can't become one by their header facts; "" where they can, or where the recipe's values decide."""
    facts = AdapterFacts.from_dict(version.facts)
    if facts.needs_base:
        return " ".join(f"{need['reason']} {need['do']}" for need in facts.needs_base)
    pair = [(str(first), AdapterFacts.from_dict(first.facts)), (str(version), facts)]
    try:
        (recipe or method.recipe()).check(pair[:1] if version == first else pair[: method.needs.max_inputs or 2])
    except RecipeError:
        return ""
    except CompositionError as error:
        return "" if error.code.endswith(".too_few_inputs") else error.message
    return ""
