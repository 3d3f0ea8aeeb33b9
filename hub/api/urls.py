"""Routes of /api/v1."""

from django.urls import path, re_path

import hub.http.converters  # noqa: F401  registers name, ref, longref, anypath, number
from hub.api import schema, view
from hub.api.views import (
    accounts,
    audit,
    bases,
    companions,
    evaluations,
    files,
    jobs,
    methods,
    organisations,
    protections,
    refs,
    repositories,
    uploads,
    verdicts,
    versions,
    workers,
)
from hub.api.views.admin import events as admin_events
from hub.api.views.admin import jobs as admin_jobs
from hub.api.views.admin import storage as admin_storage
from hub.api.views.admin import users as admin_users

REPOSITORY = "repositories/<name:namespace>/<name:name>"

urlpatterns = [
    path("schema", schema.Schema.as_view(), name="api_schema"),
    path("docs", schema.Docs.as_view(), name="api_docs"),
    path("me", accounts.Me.as_view()),
    path("sign-in", accounts.SignIn.as_view()),
    path("tokens", accounts.Tokens.as_view()),
    path("tokens/<number:pk>", accounts.OneToken.as_view()),
    path("organisations", organisations.Organisations.as_view()),
    path("organisations/<name:namespace>", organisations.Organisation.as_view()),
    path("organisations/<name:namespace>/members/<name:username>", organisations.Member.as_view()),
    path("namespaces/<name:namespace>/events", audit.NamespaceEvents.as_view()),
    path("namespaces/<name:namespace>/protections", protections.NamespaceProtections.as_view()),
    path("namespaces/<name:namespace>/protections/<refpattern:pattern>", protections.NamespaceProtection.as_view()),
    path("bases", bases.Bases.as_view()),
    path("bases/<anypath:name>", bases.Base.as_view()),
    path("repositories", repositories.Repositories.as_view()),
    path("trash", repositories.Trash.as_view()),
    path(REPOSITORY, repositories.OneRepository.as_view(), name="api_repository"),
    path(f"{REPOSITORY}/restore", repositories.Restore.as_view()),
    path(f"{REPOSITORY}/versions", versions.Versions.as_view()),
    path(f"{REPOSITORY}/versions/<ref:ref>", versions.OneVersion.as_view()),
    path(f"{REPOSITORY}/versions/<ref:ref>/verdict", verdicts.Verdict.as_view()),
    path(f"{REPOSITORY}/files/<ref:ref>", files.Files.as_view()),
    path(f"{REPOSITORY}/files/<ref:ref>/<anypath:path>", files.File.as_view(), name="api_file"),
    path(f"{REPOSITORY}/refs", refs.Refs.as_view()),
    path(f"{REPOSITORY}/refs/<longref:ref>/history", protections.History.as_view()),
    path(f"{REPOSITORY}/protections", protections.Protections.as_view()),
    path(f"{REPOSITORY}/protections/<refpattern:pattern>", protections.Protection.as_view()),
    path(f"{REPOSITORY}/tags/<longref:tag>", refs.Tag.as_view()),
    path(f"{REPOSITORY}/companions", companions.Companions.as_view()),
    path(
        f"{REPOSITORY}/companions/<name:kind>/<anypath:companion>",
        companions.OneCompanion.as_view(),
        name="api_companion",
    ),
    path(f"{REPOSITORY}/events", audit.RepositoryEvents.as_view()),
    path(f"{REPOSITORY}/uploads", uploads.Uploads.as_view()),
    path("uploads/<uuid:pk>", uploads.Upload.as_view()),
    path("uploads/<uuid:pk>/files/<anypath:path>", uploads.UploadBytes.as_view()),
    path("uploads/<uuid:pk>/commit", uploads.Commit.as_view()),
    path("methods", methods.Methods.as_view()),
    path("jobs", jobs.Jobs.as_view()),
    path("jobs/check", jobs.Check.as_view()),
    path("jobs/<number:pk>", jobs.OneJob.as_view()),
    path("jobs/<number:pk>/log", jobs.Log.as_view()),
    path("jobs/<number:pk>/events", jobs.Events.as_view(), name="api_job_events"),
    path("jobs/<number:pk>/cancel", jobs.Cancel.as_view()),
    path("jobs/<number:pk>/retry", jobs.Retry.as_view()),
    path("workers", workers.Workers.as_view()),
    path("compare", evaluations.Compare.as_view()),
    path("admin/users", admin_users.Users.as_view()),
    path("admin/users/<name:username>", admin_users.OneUser.as_view()),
    path("admin/users/<name:username>/password-link", admin_users.PasswordLink.as_view()),
    path("admin/jobs", admin_jobs.Jobs.as_view()),
    path("admin/jobs/<number:pk>/cancel", admin_jobs.CancelJob.as_view()),
    path("admin/workers", admin_jobs.Workers.as_view()),
    path("admin/bases", admin_storage.Bases.as_view()),
    path("admin/storage", admin_storage.Storage.as_view()),
    path("admin/namespaces", admin_storage.Namespaces.as_view()),
    path("admin/events", admin_events.Events.as_view()),
    path("admin/events/export", admin_events.Export.as_view()),
    re_path(r"^.*$", view.Unknown.as_view(), name="api_unknown"),
]
