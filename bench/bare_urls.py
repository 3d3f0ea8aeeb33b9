"""The hub's addresses and one more: thirty rows of the same table as JSON, by a view that does nothing else."""

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from hub.models import Repository

COLUMNS = ("name", "kind", "visibility", "description", "base__name", "rank", "license", "size", "downloads")


def rows(request: HttpRequest) -> JsonResponse:
    """The newest thirty public repositories, with a second query for their tags."""
    found = Repository.objects.filter(visibility="public", deleted_at=None).order_by("-updated_at", "-id")
    shown = {row["pk"]: row | {"tags": []} for row in found.values("pk", "namespace__name", *COLUMNS)[:30]}
    for pk, tag in Repository.tags.rel.related_model.objects.filter(repository__in=shown).values_list(
        "repository", "name"
    ):
        shown[pk]["tags"].append(tag)
    return JsonResponse({"results": list(shown.values())})


urlpatterns = [path("api/bare", rows), path("", include("hub.urls"))]
