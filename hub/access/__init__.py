"""Who may see or do what. Every look-up of every surface goes through here and returns the object or raises.

What one may not see answers `NotFound`, worded the same as what does not exist.
"""

from hub.access.bases import base
from hub.access.companions import companion, companions, named, visible_companions
from hub.access.repositories import may, namespace, parse_input, repository, resolve, version, visible
from hub.access.viewer import (
    ANONYMOUS,
    Viewer,
    missing,
    require_role,
    require_scope,
    require_site_admin,
    require_user,
    viewer_of,
)
from hub.access.webhooks import delivery, webhook
from hub.access.work import identity, job, token, upload

__all__ = [
    "ANONYMOUS",
    "Viewer",
    "base",
    "companion",
    "companions",
    "delivery",
    "identity",
    "job",
    "may",
    "missing",
    "named",
    "namespace",
    "parse_input",
    "repository",
    "require_role",
    "require_scope",
    "require_site_admin",
    "require_user",
    "resolve",
    "token",
    "upload",
    "version",
    "viewer_of",
    "visible",
    "visible_companions",
    "webhook",
]
