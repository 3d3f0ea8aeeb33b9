"""Where a form leads back to: an address of this site that the form itself carries, never one elsewhere."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def lead_back(request: HttpRequest, given: str) -> HttpResponse:
    """A redirect to the path `given`; to the list of adapters where that is no path of this site."""
    here = given.startswith("/") and url_has_allowed_host_and_scheme(given, request.get_host())
    return HttpResponseRedirect(given if here else reverse("browse"))
