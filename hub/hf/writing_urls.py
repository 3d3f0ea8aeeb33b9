"""Routes of the protocol that write files: before the commit, the commit, and what changes branches as a whole."""

from django.urls import path

from hub.hf.views import cards, commits, lfs_files

HERE = "api/<type:type>/<name:namespace>/<name:name>"

urlpatterns = [
    path("api/validate-yaml", cards.ValidateYaml.as_view()),
    path(f"{HERE}/preupload/<anypath:rev>", commits.Preupload.as_view()),
    path(f"{HERE}/commit/<anypath:rev>", commits.Commit.as_view()),
    path(f"{HERE}/super-squash/<anypath:rev>", commits.Squash.as_view()),
    path(f"{HERE}/lfs-files", lfs_files.LfsFiles.as_view()),
    path(f"{HERE}/lfs-files/batch", lfs_files.LfsFilesBatch.as_view()),
    path(f"{HERE}/lfs-files/duplicate", lfs_files.LfsFilesDuplicate.as_view()),
]
