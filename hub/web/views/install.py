"""Where to get `hubctl`: a page for people, text for curl, and an index of this one package for pip and uv.

The index follows the simple repository API (PEP 503, PEP 691): https://packaging.python.org/specifications/simple-repository-api/
"""

import io
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from hub.client import wheel
from hub.errors import NotFound
from hub.http.file_responses import Content, bytes_response

JSON = "application/vnd.pypi.simple.v1+json"
META = {"api-version": "1.1"}


@require_safe
def install(request: HttpRequest) -> HttpResponse:
    """How to get the client: a page where a browser asks, else text whose only command installs it."""
    shown = {"wheel": wheel(), "address": _address(request), "site": f"{request.scheme}://{request.get_host()}"}
    if "text/html" in request.headers.get("Accept", ""):
        response = render(request, "install/page.html", {"here": "install", **shown})
    else:
        response = render(request, "install/plain.txt", shown, content_type="text/plain; charset=utf-8")
    patch_vary_headers(response, ["Accept"])
    return response


@require_safe
def latest(request: HttpRequest) -> HttpResponse:
    """The requirement that names the wheel and its digest, in one line: pip install "$(curl -fsS …)"."""
    return HttpResponse(f"{wheel().project} @ {_address(request)}\n", content_type="text/plain; charset=utf-8")


@require_safe
def simple(request: HttpRequest) -> HttpResponse:
    """The index's list of projects: one."""
    project = wheel().project
    return _answer(request, {"meta": META, "projects": [{"name": project}]}, {project: f"{project}/"})


@require_safe
def simple_project(request: HttpRequest, project: str) -> HttpResponse:
    """The project's files: one wheel, with its digest."""
    found = wheel()
    if project.lower().replace("_", "-").replace(".", "-") != found.project:
        raise NotFound(f"This index has no {project!r}; its one project is {found.project}.", code="file_not_found")
    url = f"../../{quote(found.filename)}"
    file = {"filename": found.filename, "url": url, "hashes": {"sha256": found.sha256}, "size": len(found.data)}
    said = {"meta": META, "name": found.project, "versions": [found.version]}
    said["files"] = [{**file, "requires-python": found.requires_python}]
    return _answer(request, said, {found.filename: f"{url}#sha256={found.sha256}"}, found.requires_python)


@require_safe
def file(request: HttpRequest, filename: str) -> HttpResponseBase:
    """The wheel itself."""
    found = wheel()
    if filename != found.filename:
        raise NotFound(
            f"This hub's client is {found.filename} now, not {filename!r}; {reverse('install')} has the address.",
            code="file_not_found",
        )
    content = Content(found.sha256, len(found.data), lambda: io.BytesIO(found.data))
    return bytes_response(request, content, filename)


def _address(request: HttpRequest) -> str:
    """The wheel's whole address, with its digest, which pip checks."""
    found = wheel()
    return f"{request.build_absolute_uri(reverse('install_file', args=[found.filename]))}#sha256={found.sha256}"


def _answer(request: HttpRequest, said: dict, links: dict[str, str], requires_python: str = "") -> HttpResponse:
    """JSON where it is asked for, else the same as HTML."""
    if JSON in request.headers.get("Accept", ""):
        response: HttpResponse = JsonResponse(said, content_type=JSON)
    else:
        response = render(request, "install/simple.html", {"links": links, "requires_python": requires_python})
    patch_vary_headers(response, ["Accept"])
    return response
