"""All reads that pages, the API and other doors share, one noun a file. Each asks a fixed number of queries, however
long its list."""

from hub.queries.account import limit_shown, memberships, tokens, user, writable
from hub.queries.base import bases
from hub.queries.evaluation import compare, evaluations, newest_datasets
from hub.queries.event import events, names_seen, watched
from hub.queries.job import (
    HIDDEN_INPUT,
    input_words,
    job_end,
    job_of_key,
    jobs,
    named_inputs,
    private_relatives,
    report_of,
    without_private,
)
from hub.queries.repository import (
    FACETS,
    SORTS,
    companion,
    facets,
    file,
    files,
    latest_versions,
    refs,
    repositories,
    seen,
    trash,
)
from hub.queries.version import lineage, versions
from hub.queries.worker import live_workers, workers

__all__ = [
    "FACETS",
    "HIDDEN_INPUT",
    "SORTS",
    "bases",
    "companion",
    "compare",
    "evaluations",
    "events",
    "facets",
    "file",
    "files",
    "input_words",
    "job_end",
    "job_of_key",
    "jobs",
    "latest_versions",
    "limit_shown",
    "lineage",
    "live_workers",
    "memberships",
    "named_inputs",
    "names_seen",
    "newest_datasets",
    "private_relatives",
    "refs",
    "report_of",
    "repositories",
    "seen",
    "tokens",
    "trash",
    "user",
    "versions",
    "watched",
    "without_private",
    "workers",
    "writable",
]
