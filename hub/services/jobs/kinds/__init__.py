"""The kinds of jobs: one module a kind, each with its home under the name `HOME`; see `base.JobKind`.

A new kind is a recipe with its row, a function, a module here and one in `workers.kinds`. Nobody outside asks which
kind a job is: they ask its home.
"""

import sys

from composition.registry import METHODS, Homes
from hub.services.jobs.kinds.base import JobKind, Role

HOMES: Homes[JobKind] = Homes(sys.modules[__name__], "HOME")


RETIRED = JobKind()
"""Stands for a kind that an earlier release had: its jobs are shown, and never run."""


def kind_of(kind: str) -> JobKind:
    """The home of a job's kind."""
    return HOMES.of(METHODS[kind]) if kind in METHODS else RETIRED


def roles() -> list[Role]:
    """The inputs with a role of their own that any kind takes, each name once."""
    return list({role.name: role for home in HOMES.all.values() for role in home.roles}.values())
