"""Routes of the protocol for what others do with a repository: proposals, and asking for the files of a gated one."""

from django.urls import path

from hub.hf.places import DATASETS, MODELS
from hub.hf.view import View
from hub.hf.views import access_requests

ID = "<name:namespace>/<name:name>"


def of_both(rest: str, view: type[View]) -> list:
    """The route of models and that of datasets."""
    return [path(f"api/{type}/{ID}/{rest}", view.as_view(), {"type": type}) for type in (MODELS, DATASETS)]


urlpatterns = [
    path(f"{ID}/ask-access", access_requests.Ask.as_view(), {"type": MODELS}),
    path(f"datasets/{ID}/ask-access", access_requests.Ask.as_view(), {"type": DATASETS}),
    *of_both("user-access-request/handle", access_requests.Handle),
    *of_both("user-access-request/grant", access_requests.Grant),
    *of_both("user-access-request/<name:state>", access_requests.Listed),
]
