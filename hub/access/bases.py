"""Base models: everyone may see them."""

from hub.errors import NotFound
from hub.models import BaseModel


def base(name: str, revision: str | None = None) -> BaseModel:
    """The base of this name, `name@revision` or alias; everyone may see bases."""
    found = BaseModel.objects.select_related("derived_from").filter(name__iexact=name)
    match = found.filter(revision=revision).first() if revision else found.order_by("pk").first()
    match = match or BaseModel.objects.select_related("derived_from").filter(aliases__name=name).first()
    if match is None and revision is None and "@" in name:
        return base(*name.rsplit("@", 1))
    if match is None:
        raise NotFound(
            f"No base model is registered as {name!r}. Register it: hubctl base add {name} --config config.json",
            code="base_not_found",
        )
    return match
