"""From a request to a job that can be queued: one sequence of steps, and no other way.

`prepare` raises the first thing that stands in the way; `examine` collects all of them for a dry run. Both walk the
same steps, so they can't disagree. A step that needs what an earlier one refused is skipped. A stored
job is prepared again by `recheck`: anyone who lost access in between is refused.
"""

from collections.abc import Callable

from composition.errors import CompositionError
from composition.registry import METHODS, recipe_from_dict
from hub import access
from hub.access import Viewer
from hub.errors import Busy, HubError, Invalid
from hub.models import Repository, User, sharing_names
from hub.services import quotas
from hub.services.jobs.draft import Draft
from hub.services.jobs.files import require_companions
from hub.services.jobs.inputs import require_inputs
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.kinds.base import JobKind, check_repository_kind
from hub.services.jobs.output import check_output, check_visibility, place_of
from hub.services.jobs.request import JobRequest
from hub.services.jobs.scheduling import priority_of


def prepare(actor: User | Viewer, request: JobRequest) -> Draft:
    """The request completed and checked. Raises RecipeError, other CompositionErrors, Invalid, NotFound, …"""
    draft = examine(actor, request)
    draft.require()
    return draft


def examine(actor: User | Viewer, request: JobRequest) -> Draft:
    """The same without raising: everything that stands in the way is in `draft.problems`, in the steps' order."""
    draft = Draft(viewer=access.acting(actor), request=request)
    method = METHODS.get(request.kind)
    if method is None:
        _step(draft, lambda: recipe_from_dict({"kind": request.kind}))
        return draft
    draft.method = method
    _Steps(draft, kind_of(request.kind)).walk()
    return draft


class _Steps:
    """The steps, in order; a step that refuses notes why and answers False."""

    def __init__(self, draft: Draft, kind: JobKind) -> None:
        self.draft, self.kind = draft, kind

    def walk(self) -> None:
        self.draft.in_sight = self.step(self.check_sight)
        if not self.draft.in_sight:
            return  # Whatever else is wrong would tell of what is hidden.
        parsed = self.step(self.parse)
        completed = self.step(self.complete)
        self.step(self.check_keep)
        if self.draft.request.held is None:
            self.step(lambda: priority_of(self.draft.viewer, self.draft.request.priority))
        readable = self.step(lambda: check_visibility(self.draft.request.visibility))
        runs = completed and self.step(self.check_base)
        whole = parsed and runs and self.step(self.add_data) and self.step(self.check_sight)
        if whole and self.step(lambda: self.kind.check(self.draft)):
            self.settle()
        found = parsed and self.step(self.find_files)
        if found and completed and self._has_inputs():
            self.step(lambda: self.kind.check_files(self.draft))
        self.draft.comparable = whole and found
        if self.kind.makes and readable and self.step(self.find_place):
            self.step(self.check_room)

    def step(self, act: Callable[[], object]) -> bool:
        return _step(self.draft, act)

    def check_sight(self) -> None:
        """Refuse what the actor can't see (any more), as if it weren't there, and files that they may not have; what a
        kind has added by itself as well."""
        require_inputs(self.draft.viewer, self.draft.request.versions)

    def parse(self) -> None:
        request = self.draft.request
        fields = {**self.kind.recipe_of(request), "kind": request.kind}
        self.draft.recipe = recipe_from_dict(fields)

    def complete(self) -> None:
        request, roles = self.draft.request, {role.name for role in self.kind.roles}
        for role in request.others:
            if role not in roles:
                raise Invalid(f"A job of the kind {request.kind} takes no input with the role {role!r}.", field=role)
        for role in self.kind.roles:
            if role.name in request.others:
                check_repository_kind(request.others[role.name], role.kind, role.name)
        self.draft.request = self.kind.completed(self.draft.viewer, request)

    def check_base(self) -> None:
        """Refuse to run a base that isn't a language model: image models are stored and merged, nothing more."""
        request = self.draft.request
        bases = [version.base for version in request.versions] + [request.base]
        image = next((base for base in bases if base and "_class_name" in base.config), None)
        if image and self.draft.method.needs.base_model:
            raise Invalid(
                f"{self.draft.method.label} runs the base, and {image} is an image model "
                f"({image.config['_class_name']}), which this hub stores and merges adapters for but does not run. "
                "Try the adapter in your own pipeline.",
                code="base.not_run",
                field="base",
            )

    def settle(self) -> None:
        """Fill in what the inputs decide, such as a rank that was left open."""
        self.draft.recipe = self.draft.recipe.settled(self.kind.facts(self.draft.request))

    def check_keep(self) -> None:
        request, may = self.draft.request, self.kind.keeps
        for word in request.keep:
            if word not in may:
                takes = ", ".join(may) or "nothing"
                raise Invalid(
                    f"A job of the kind {request.kind} can't keep {word!r}; it can keep: {takes}.", field="keep"
                )
        self.draft.request = request.replace(keep=tuple(sorted(set(request.keep))))

    def add_data(self) -> None:
        self.draft.request = self.kind.with_data(self.draft.viewer, self.draft.recipe, self.draft.request)

    def find_files(self) -> None:
        if self.draft.request.held is not None:
            require_companions(self.draft.viewer, [file.companion for file in self.draft.request.held])
            self.draft.given = list(self.draft.request.held)
            return
        self.kind.check_file_roles(self.draft)
        self.draft.given = self.kind.find_files(self.draft)

    def find_place(self) -> None:
        draft, request = self.draft, self.draft.request
        place, asked = place_of(self.kind, request), self.kind.visibility(request.visibility)
        draft.place = check_output(
            draft.viewer, self.kind, draft.method.label, place, self.kind.parents(request), asked
        )

    def check_room(self) -> None:
        """Refuse a result that its namespace has no room for, as far as its size is known; publishing counts again."""
        namespace, name = self.draft.place
        there = Repository.objects.filter(sharing_names(self.kind.makes), namespace=namespace, name__iexact=name)
        if not there.filter(deleted_at=None).exists():
            quotas.require("repositories", namespace, hold=False)
        size = 0 if self.draft.problems else self.kind.cost(self.draft).get("bytes")
        quotas.expect(namespace, size=int(size or 1))

    def _has_inputs(self) -> bool:
        return not self.draft.method.needs.min_inputs or bool(self.draft.request.adapters)


def _step(draft: Draft, act: Callable[[], object]) -> bool:
    try:
        act()
    except Busy:
        raise  # It says nothing about the request.
    except (HubError, CompositionError) as problem:
        draft.problems.append(problem)
        return False
    return True
