"""What a job may read: versions that its owner sees, and whose files they may have."""

from collections.abc import Sequence

from hub import access, queries
from hub.access import Viewer
from hub.models import Version


def require_inputs(viewer: Viewer, versions: Sequence[Version]) -> None:
    """NotFound for the first version that the viewer doesn't see, Gated for one whose files they may not have."""
    seen = queries.seen(viewer, [version.repository_id for version in versions])
    for version in versions:
        if version.repository_id not in seen:
            raise access.missing(version.repository.path, "repository")
    for repository in {version.repository_id: version.repository for version in versions}.values():
        access.require_open(viewer, repository)
