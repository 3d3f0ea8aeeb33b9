"""Routes of the protocol for what others do with a repository: proposals, and asking for the files of a gated one."""

from django.urls import path

from hub.hf.views import access_requests, discussions

HERE = "api/<type:type>/<name:namespace>/<name:name>"
PULL = f"{HERE}/discussions/<number:number>"

urlpatterns = [
    path("<place:namespace>/<name:name>/ask-access", access_requests.Ask.as_view()),
    path(f"{HERE}/discussions", discussions.Discussions.as_view()),
    path(PULL, discussions.Discussion.as_view()),
    path(f"{PULL}/title", discussions.Title.as_view()),
    path(f"{PULL}/status", discussions.Status.as_view()),
    path(f"{PULL}/merge", discussions.Merge.as_view()),
    path(f"{PULL}/comment", discussions.Comment.as_view()),
    path(f"{PULL}/comment/<anypath:rest>", discussions.Comment.as_view()),
    path(f"{HERE}/user-access-request/handle", access_requests.Handle.as_view()),
    path(f"{HERE}/user-access-request/grant", access_requests.Grant.as_view()),
    path(f"{HERE}/user-access-request/<name:state>", access_requests.Listed.as_view()),
]
