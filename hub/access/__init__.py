"""Who may see or do what. Every look-up of every surface goes through here and returns the object or raises.

What one may not see answers `NotFound`, worded the same as what does not exist.
"""

from hub.access.bases import base, is_admin, may_change_base
from hub.access.companions import companion, companions, named, visible_companions
from hub.access.gates import Gated, lets_in, open_to, require_open
from hub.access.offers import is_anyone_there, is_looking, offers
from hub.access.pulls import may_change, pull, require_proposer
from hub.access.repositories import may, member_of, namespace, parse_input, repository, resolve, version, visible
from hub.access.viewer import (
    ANONYMOUS,
    SEEING,
    Viewer,
    acting,
    limited_to,
    missing,
    require_no_limit,
    require_role,
    require_scope,
    require_site_admin,
    require_user,
    viewer_of,
    viewer_of_job,
    viewer_of_token,
)
from hub.access.webhooks import delivery, webhook
from hub.access.work import identity, job, token, upload, watchable

__all__ = [
    "ANONYMOUS",
    "SEEING",
    "Gated",
    "Viewer",
    "acting",
    "base",
    "companion",
    "companions",
    "delivery",
    "identity",
    "is_admin",
    "is_anyone_there",
    "is_looking",
    "job",
    "lets_in",
    "limited_to",
    "may",
    "may_change",
    "may_change_base",
    "member_of",
    "missing",
    "named",
    "namespace",
    "offers",
    "open_to",
    "parse_input",
    "pull",
    "repository",
    "require_no_limit",
    "require_open",
    "require_proposer",
    "require_role",
    "require_scope",
    "require_site_admin",
    "require_user",
    "resolve",
    "token",
    "upload",
    "version",
    "viewer_of",
    "viewer_of_job",
    "viewer_of_token",
    "visible",
    "visible_companions",
    "watchable",
    "webhook",
]
