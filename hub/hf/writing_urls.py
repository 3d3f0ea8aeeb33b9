"""Routes of the protocol that write files: before the commit, the commit, and what changes branches as a whole."""

from django.urls import path

from hub.hf.places import DATASETS, MODELS
from hub.hf.view import View
from hub.hf.views import cards, commits, lfs_files

ID = "<name:namespace>/<name:name>"


def of_both(rest: str, view: type[View]) -> list:
    """The route of models and that of datasets."""
    return [path(f"api/{type}/{ID}/{rest}", view.as_view(), {"type": type}) for type in (MODELS, DATASETS)]


urlpatterns = [
    path("api/validate-yaml", cards.ValidateYaml.as_view()),
    *of_both("preupload/<anypath:rev>", commits.Preupload),
    *of_both("commit/<anypath:rev>", commits.Commit),
    *of_both("super-squash/<anypath:rev>", commits.Squash),
    *of_both("lfs-files", lfs_files.LfsFiles),
    *of_both("lfs-files/batch", lfs_files.LfsFilesBatch),
    *of_both("lfs-files/duplicate", lfs_files.LfsFilesDuplicate),
]
