"""Routes of the protocol for what others do with a repository: proposals, and asking for the files of a gated one."""

from django.urls import path

from hub.hf.views import access_requests

HERE = "api/<type:type>/<name:namespace>/<name:name>"

urlpatterns = [
    path("<place:namespace>/<name:name>/ask-access", access_requests.Ask.as_view()),
    path(f"{HERE}/user-access-request/handle", access_requests.Handle.as_view()),
    path(f"{HERE}/user-access-request/grant", access_requests.Grant.as_view()),
    path(f"{HERE}/user-access-request/<name:state>", access_requests.Listed.as_view()),
]
