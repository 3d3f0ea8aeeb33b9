"""Routes of the pages. Repositories live at /<namespace>/<name>; `hub.names.RESERVED` keeps our own words free."""

from django.urls import path

import hub.converters  # noqa: F401  registers name, ref, anypath, number
from hub.web.views import (
    accounts,
    bases,
    browse,
    compare,
    generate,
    jobs,
    merge,
    namespaces,
    repository,
    transfer,
    upload,
)

HERE = "<name:namespace>/<name:name>"

urlpatterns = [
    path("", browse.browse, name="browse"),
    path("merge", merge.merge, name="merge"),
    path("merge/basket", browse.change_basket, name="basket"),
    path("generate", generate.generate, name="generate"),
    path("compare", compare.compare, name="compare"),
    path("upload", upload.upload, name="upload"),
    path("jobs", jobs.jobs, name="jobs"),
    path("jobs/evaluate", merge.evaluate, name="evaluate"),
    path("jobs/<number:pk>", jobs.job, name="job"),
    path("jobs/<number:pk>/cancel", jobs.act, {"verb": "cancel"}, name="cancel_job"),
    path("jobs/<number:pk>/retry", jobs.act, {"verb": "retry"}, name="retry_job"),
    path("jobs/<number:pk>/again", jobs.act, {"verb": "again"}, name="again_job"),
    path("workers", jobs.workers, name="workers"),
    path("bases", bases.bases, name="bases"),
    path("bases/<anypath:name>", bases.base, name="base"),
    path("sign-in", accounts.sign_in, name="sign_in"),
    path("sign-up", accounts.sign_up, name="sign_up"),
    path("sign-out", accounts.sign_out, name="sign_out"),
    path("tokens", accounts.tokens, name="tokens"),
    path("tokens/<number:pk>/revoke", accounts.revoke_token, name="revoke_token"),
    path("organisations", namespaces.organisations, name="organisations"),
    path("trash", namespaces.trash, name="trash"),
    path(f"trash/{HERE}", namespaces.restore, name="restore"),
    path("<name:namespace>", namespaces.namespace, name="namespace"),
    path("<name:namespace>/-/members", namespaces.change_member, name="change_member"),
    path(HERE, repository.repository, name="repository"),
    path(f"{HERE}/at/<ref:ref>", repository.repository, name="version"),
    path(f"{HERE}/files/<ref:ref>", repository.files, name="files"),
    path(f"{HERE}/raw/<ref:ref>/<anypath:path>", repository.file, name="file"),
    path(f"{HERE}/versions", repository.versions, name="versions"),
    path(f"{HERE}/modules/<ref:ref>", repository.modules, name="modules"),
    path(f"{HERE}/report/<ref:ref>", repository.report, name="report"),
    path(f"{HERE}/transfer", transfer.transfer, name="transfer"),
    path(f"{HERE}/measure/<ref:ref>", transfer.measure, name="measure"),
    path(f"{HERE}/settings", repository.settings, name="settings"),
    path(f"{HERE}/delete", repository.delete, name="delete"),
    path(f"{HERE}/tag", repository.tag, name="tag"),
    path(f"{HERE}/card", repository.edit_card, name="edit_card"),
]
