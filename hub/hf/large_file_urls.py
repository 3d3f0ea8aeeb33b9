"""Routes of the protocol by which large files come before their commit: Git LFS and Xet."""

from django.urls import path

from hub.hf.places import DATASETS, MODELS, PREFIX
from hub.hf.view import View
from hub.hf.views import lfs, xet

ID = "<name:namespace>/<name:name>"
HERE = f"api/<type:type>/{ID}"
STORE = "xet/<uuid:store>"


def of_git(rest: str, view: type[View]) -> list:
    """The route of models and that of datasets, where git would look."""
    return [path(f"{PREFIX[type]}{ID}.git/{rest}", view.as_view(), {"type": type}) for type in (MODELS, DATASETS)]


urlpatterns = [
    *of_git("info/lfs/objects/batch", lfs.Batch),
    *of_git("info/lfs/verify", lfs.Verify),
    path("api/lfs/objects/<ref:oid>", lfs.Object.as_view()),
    path(f"{HERE}/xet-write-token/<anypath:rev>", xet.WriteToken.as_view()),
    path(f"{HERE}/xet-read-token/<anypath:rev>", xet.ReadToken.as_view()),
    path(f"{STORE}/v1/chunks/default/<ref:hash>", xet.Nothing.as_view()),
    path(f"{STORE}/v1/xorb-grants/default/<ref:hash>", xet.Nothing.as_view()),
    path(f"{STORE}/v1/xorbs/default/<ref:hash>", xet.Xorbs.as_view()),
    path(f"{STORE}/v1/shards", xet.Shards.as_view()),
    path(f"{STORE}/v2/shards", xet.Shards.as_view(lines=True)),
]
