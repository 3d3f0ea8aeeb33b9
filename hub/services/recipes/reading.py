"""A recipe's file, of this hub or of mergekit, as the body of a job."""

from typing import Any

from hub.access import Viewer
from hub.services.parsing.plain_yaml import mapping_of
from hub.services.recipes import mergekit, own


def read_file(viewer: Viewer, text: str) -> dict[str, Any]:
    """The body for POST /jobs, and under `notes` what one should know of how the file was read.

    Raises Invalid `recipe.file`, `recipe.mergekit`, `recipe.other_bytes`; NotFound for what can't be seen.
    """
    data = mapping_of(text, what="The recipe", code=own.CODE)
    if mergekit.is_one(data):
        return mergekit.read(data)
    return {**own.read(viewer, data), "notes": []}
