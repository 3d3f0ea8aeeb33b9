"""All reads that pages, the API and other doors share, one noun a file. Each asks a fixed number of queries, however
long its list."""

from hub.queries.account import identities, memberships, sign_ins, tokens, user, writable
from hub.queries.base import bases
from hub.queries.evaluation import compare, evaluations, newest_datasets
from hub.queries.event import events, names_seen, watched
from hub.queries.job import job_end, job_of_key, jobs
from hub.queries.protection import protections, ref_history
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
from hub.queries.webhook import deliveries, webhooks
from hub.queries.worker import live_workers, workers

__all__ = [
    "FACETS",
    "SORTS",
    "bases",
    "companion",
    "compare",
    "deliveries",
    "evaluations",
    "events",
    "facets",
    "file",
    "files",
    "identities",
    "job_end",
    "job_of_key",
    "jobs",
    "latest_versions",
    "lineage",
    "live_workers",
    "memberships",
    "names_seen",
    "newest_datasets",
    "protections",
    "ref_history",
    "refs",
    "repositories",
    "seen",
    "sign_ins",
    "tokens",
    "trash",
    "user",
    "versions",
    "watched",
    "webhooks",
    "workers",
    "writable",
]
