"""A request on its way to a job: what has been found out about it so far, and what stands in the way.

`prepare` fills it step by step; a job kind's hooks read it. Nothing in it is written to the database.
"""

from dataclasses import dataclass, field

from composition.errors import CompositionError
from composition.recipes.base import Recipe
from composition.recipes.method import Method
from hub.access import Viewer
from hub.errors import HubError
from hub.models import BaseModel, Namespace, User
from hub.services.jobs.files import Given
from hub.services.jobs.request import JobRequest


@dataclass(slots=True, kw_only=True)
class Draft:
    """`request` as asked, then completed; `given` are its private files; `place` is where the result goes.

    `viewer` is who asks, within the limit of their token.
    `in_sight`: the viewer sees all inputs; nothing may be told of them otherwise.
    `comparable`: recipe, inputs, data and files are known, so that it can be told from another request.
    """

    viewer: Viewer
    request: JobRequest
    method: Method | None = None
    recipe: Recipe | None = None
    given: list[Given] = field(default_factory=list)
    place: tuple[Namespace, str] | None = None
    in_sight: bool = False
    comparable: bool = False
    problems: list[HubError | CompositionError] = field(default_factory=list)

    @property
    def actor(self) -> User:
        """Who asks."""
        return self.viewer.user

    @property
    def base(self) -> BaseModel | None:
        """The base that the job is about: the one asked for, else the first adapter's."""
        return self.request.base or (self.request.adapters[0].base if self.request.adapters else None)

    def given_as(self, role: str) -> list[Given]:
        """Its private files of one role."""
        return [file for file in self.given if file.role == role]

    def rows(self, role: str) -> int:
        """How many rows there are of a role; 0 where it is missing."""
        return sum(file.facts.get("rows", 0) for file in self.given_as(role))

    def require(self) -> None:
        """Raise the first problem."""
        if self.problems:
            raise self.problems[0]
