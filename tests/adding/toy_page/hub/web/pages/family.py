"""What the page of an adapter's family shows: what its newest version was made of, and what was made of it. A toy."""

from hub import queries
from hub.access import Viewer
from hub.web.pages.repository import Heading


def family(viewer: Viewer, page: Heading) -> dict:
    """{"parents", "children", "hidden"}: names that the viewer may see, and how many more there are."""
    lineage = queries.lineage(viewer, page.version) if page.version else {"parents": [], "children": []}
    names = {side: [one["name"] for one in relatives if not one["hidden"]] for side, relatives in lineage.items()}
    return {**names, "hidden": sum(one["hidden"] for relatives in lineage.values() for one in relatives)}
