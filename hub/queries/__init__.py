"""All reads that pages, the API and other doors share, one noun a file. Each asks a fixed number of queries, however
long its list."""

from hub.queries.account import identities, limit_shown, memberships, sign_ins, tokens, user, writable
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
from hub.queries.protection import protections, ref_history
from hub.queries.quota import stored, usage
from hub.queries.ref import at_ref, with_ref
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
from hub.queries.version import lineage, servers, versions
from hub.queries.webhook import deliveries, webhooks
from hub.queries.worker import live_workers, workers

__all__ = [
    "FACETS",
    "HIDDEN_INPUT",
    "SORTS",
    "at_ref",
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
    "protections",
    "ref_history",
    "refs",
    "report_of",
    "repositories",
    "seen",
    "servers",
    "sign_ins",
    "stored",
    "tokens",
    "trash",
    "usage",
    "user",
    "versions",
    "watched",
    "webhooks",
    "with_ref",
    "without_private",
    "workers",
    "writable",
]
