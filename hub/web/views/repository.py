"""A repository's page: its sections, its files, and what its members change about it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hub import access, queries
from hub.services import refs, repositories
from hub.services.content import card_edits, companions, publishing
from hub.web import basket
from hub.web.forms.refusal import Refused, refusal_of
from hub.web.pages import generated, judged, transfer_report
from hub.web.pages import repository as repository_page


@require_safe
def repository(request: HttpRequest, namespace: str, name: str, ref: str | None = None) -> HttpResponse:
    """Card, facts, snippets, lineage and evaluations of the newest or the named version."""
    viewer = access.viewer_of(request)
    page = repository_page.heading(viewer, namespace, name, ref, "overview")
    site = request.build_absolute_uri("/").rstrip("/")
    context = repository_page.overview(viewer, page, site)
    context |= generated.training(viewer, page, context.get("files", [])) | generated.made_from(viewer, page)
    return render(request, f"repository/{page.repository.kind}.html", {**context, **_ticked(request)})


@require_safe
def files(request: HttpRequest, namespace: str, name: str, ref: str) -> HttpResponse:
    """The manifest with digests, sizes and downloads."""
    page = repository_page.heading(access.viewer_of(request), namespace, name, ref, "files")
    entries = queries.files(page.revision) if page.revision else []
    total = sum(entry["size"] for entry in entries)
    context = {"page": page, "files": entries, "total": total, **_ticked(request)}
    return render(request, "repository/files.html", context)


@require_safe
def versions(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """All versions with notes and changes."""
    page = repository_page.heading(access.viewer_of(request), namespace, name, None, "versions")
    return render(request, "repository/versions.html", {**repository_page.versions(page), **_ticked(request)})


@require_safe
def modules(request: HttpRequest, namespace: str, name: str, ref: str) -> HttpResponse:
    """Ranks and norms by module."""
    page = repository_page.heading(access.viewer_of(request), namespace, name, ref, "modules", "adapter")
    return render(request, "repository/modules.html", {**repository_page.modules(page), **_ticked(request)})


@require_safe
def report(request: HttpRequest, namespace: str, name: str, ref: str) -> HttpResponse:
    """How a version was made here: what fed a merge, where tokens go, what a transfer lost."""
    viewer = access.viewer_of(request)
    page = repository_page.heading(viewer, namespace, name, ref, "report", "adapter")
    context = {**repository_page.report(viewer, page), **transfer_report.build(viewer, page, request.GET)}
    context |= generated.made_from(viewer, page) | judged.of_version(viewer, page)
    return render(request, "repository/report.html", {**context, **_ticked(request)})


@require_http_methods(["GET", "POST"])
def settings(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Description and visibility, for admins."""
    viewer = access.viewer_of(request)
    found = access.repository(viewer, namespace, name, "admin")
    page = repository_page.heading(viewer, namespace, name, None, "settings")
    refused = Refused()
    if request.method == "POST":
        changes = {key: request.POST.get(key) for key in ("visibility", "gate", "description")}
        with refusal_of(refused):
            repositories.update_repository(actor=viewer.user, repository=found, **changes)
            messages.success(request, "Saved.")
            return redirect("settings", namespace, name)
    context = {"page": page, "refused": refused, "refs": queries.refs(found)}
    context["asked"] = queries.access_requests(found)
    context["beside"] = repository_page.beside(viewer, found)
    context |= repository_page.protection(found, context["refs"])
    return render(request, "repository/settings.html", context, status=refused.status)


@require_POST
def delete(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Into the trash."""
    viewer = access.viewer_of(request)
    found = access.repository(viewer, namespace, name, "admin")
    repositories.delete_repository(actor=viewer.user, repository=found)
    messages.success(request, f"{found.path} is in the trash. You can restore it here.")
    return redirect("trash")


@require_POST
def companion(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Take away what is kept beside a repository, or say who may see it; a folder is one thing."""
    viewer = access.viewer_of(request)
    act, kind, which = (request.POST.get(key, "") for key in ("act", "kind", "name"))
    found = access.repository(viewer, namespace, name, "write" if act == "remove" else "admin")
    row = access.companion(viewer, found, kind, which, whole=True)
    if act == "remove":
        companions.remove_companion(actor=viewer.user, companion=row)
    else:
        companions.show_companion(actor=viewer.user, companion=row, visibility=act)
    messages.success(request, f"{kind}/{which} is {'removed' if act == 'remove' else act}.")
    return redirect("settings", namespace, name)


@require_POST
def tag(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Set a tag on a version, or take one away."""
    viewer = access.viewer_of(request)
    found = access.repository(viewer, namespace, name, "write")
    word = request.POST.get("name", "").strip()
    asked = {"actor": viewer.user, "repository": found, "name": word}
    asked["may_protected"] = access.may(viewer, found, "admin")
    if request.POST.get("delete"):
        refs.delete_tag(**asked)
        messages.success(request, f"The tag {word} was removed.")
        return redirect("versions", namespace, name)
    revision = access.resolve(found, request.POST.get("ref") or None)
    refs.set_tag(**asked, revision=revision)
    messages.success(
        request, f"{word} now points at {revision.version.label if revision.version else revision.oid[:10]}."
    )
    return redirect("versions", namespace, name)


@require_http_methods(["GET", "POST"])
def edit_card(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Edit README.md on main; what someone else changed meanwhile is never overwritten."""
    viewer = access.viewer_of(request)
    found = access.repository(viewer, namespace, name, "write")
    page = repository_page.heading(viewer, namespace, name, None, "overview")
    head = publishing.head_of(found, publishing.MAIN)
    refused, text = Refused(), repository_page.card_text(queries.files(head)) if head else ""
    if request.method == "POST":
        text = request.POST.get("text", "").replace("\r\n", "\n")
        with refusal_of(refused):
            said = {"since": request.POST.get("head", ""), "message": request.POST.get("message", "")}
            may = {"may_protected": page.may_admin}
            card_edits.edit_card(actor=viewer.user, repository=found, text=text, **said, **may)
            return redirect("repository", namespace, name)
    context = {"page": page, "text": text, "head": head, "refused": refused}
    return render(request, "repository/edit_card.html", context, status=refused.status)


def _ticked(request: HttpRequest) -> dict:
    return {"ticked": basket.repositories(request)}
