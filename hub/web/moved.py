"""The way to a dataset's page from the address of a model: `/ns/name` leads to `/datasets/ns/name`.

Only where the reader sees no model of that name. That may change, with the hub or with who is signed in, so that no
browser may keep the way.
"""

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect

from hub.models import Repository
from hub.names import DATASETS


class Moved(Exception):
    """What was asked for is a dataset, and the address a model's."""


def at_home(repository: Repository, place: str) -> Repository:
    """The repository; Moved for a dataset that was asked for at the place of models."""
    if repository.is_dataset and not place.startswith(DATASETS):
        raise Moved
    return repository


def way_on(request: HttpRequest) -> HttpResponse:
    """The redirect to the same page of the dataset; a form is sent again there as it is."""
    response = HttpResponsePermanentRedirect(f"/{DATASETS}{request.get_full_path().removeprefix('/')}")
    if request.method not in ("GET", "HEAD"):
        response.status_code = 308
    response["Cache-Control"] = "no-store"
    return response
