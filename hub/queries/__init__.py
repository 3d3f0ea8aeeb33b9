"""All reads that pages, the API and other doors share, one noun a file. Each asks a fixed number of queries, however
long its list."""

from hub.queries.account import identities, limit_shown, memberships, sign_ins, tokens, user, writable
from hub.queries.base import bases, is_kept_elsewhere
from hub.queries.evaluation import compare, evaluations, newest_datasets
from hub.queries.event import datasets_seen, events, watched
from hub.queries.history import chain, last_changes, revisions
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
from hub.queries.repository import (
    FACETS,
    SORTS,
    all_words,
    companion,
    facets,
    file,
    files,
    latest_versions,
    of_type,
    proposed,
    refs,
    repositories,
    seen,
    trash,
    with_words,
)
from hub.queries.sharing import access_request, access_requests, my_access, pull_events, pulls
from hub.queries.tagged import (
    card_word,
    children_counts,
    heads,
    manifests,
    tagged,
    tags,
    used_storage,
)
from hub.queries.version import lineage, servers, versions
from hub.queries.webhook import deliveries, webhooks
from hub.queries.worker import live_workers, workers

__all__ = [
    "FACETS",
    "HIDDEN_INPUT",
    "SORTS",
    "access_request",
    "access_requests",
    "all_words",
    "bases",
    "card_word",
    "chain",
    "children_counts",
    "companion",
    "compare",
    "datasets_seen",
    "deliveries",
    "evaluations",
    "events",
    "facets",
    "file",
    "files",
    "heads",
    "identities",
    "input_words",
    "is_kept_elsewhere",
    "job_end",
    "job_of_key",
    "jobs",
    "last_changes",
    "latest_versions",
    "limit_shown",
    "lineage",
    "live_workers",
    "manifests",
    "memberships",
    "my_access",
    "named_inputs",
    "newest_datasets",
    "of_type",
    "private_relatives",
    "proposed",
    "protections",
    "pull_events",
    "pulls",
    "ref_history",
    "refs",
    "report_of",
    "repositories",
    "revisions",
    "seen",
    "servers",
    "sign_ins",
    "stored",
    "tagged",
    "tags",
    "tokens",
    "trash",
    "usage",
    "used_storage",
    "user",
    "versions",
    "watched",
    "webhooks",
    "with_words",
    "without_private",
    "workers",
    "writable",
]
