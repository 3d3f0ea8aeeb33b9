"""How a base that is not registered gets registered: the command and the page, fit for the name that was given.

The name may come from a stranger's file, and the command is there to be copied: whatever is no plain name is quoted.
"""

from dataclasses import dataclass
from shlex import quote
from urllib.parse import urlencode

from django.conf import settings

from hub.access.offers import offer_of
from hub.models import BaseModel, User, fold
from hub.names import BASE_NAME, BASE_REVISION

PAGE = "/bases/new"
CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class Advice:
    """`command` and `page` register the base; `before` and `after` are what else one has to know."""

    command: str
    page: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        return f"{self.before}Register it: {self.command}{self.after}, or on the page {self.page}"

    @property
    def facts(self) -> dict[str, str]:
        """For programs."""
        return {"command": self.command, "page": self.page}


def how_to_register(name: str | None) -> Advice:
    """What registers `name`: `org/name`, `org/name@revision`, a path or other words, or None where nothing was said.

    A name that no base may have becomes an alias of one; a reserved one is an administrator's, or becomes one's own.
    """
    name = name or ""
    plain, at, revision = name.partition("@")
    fits = bool(BASE_NAME.fullmatch(plain)) and (not at or bool(BASE_REVISION.fullmatch(revision)))
    prefix = next((one for one in settings.RESERVED_BASES if fold(name).startswith(fold(one))), None)
    if prefix and User.objects.count() > 1:
        own = f"YOU/{plain.partition('/')[2]}" if fits else "YOU/NAME"
        before = f"Names that begin with {prefix} are registered by an administrator: ask one, or use a name of yours. "
        return _advice(own, {}, before=before, after=f" and name it with --base {own}")
    if not fits:
        # What begins with a base's name and @ is never another name of another base.
        taken = BaseModel.objects.filter(name__iexact=name.rpartition("@")[0]).exists()
        alias = name if name.isprintable() and len(name) <= 300 and not taken else ""
        after = "" if alias else " and name it with --base ORG/NAME"
        return _advice("ORG/NAME", {"alias": alias}, after=after)
    held = offer_of(plain, revision or "main", administrator=False)
    given = {"name": plain, "revision": revision}
    return _advice(plain, given, before="A worker holds it. " if held else "", held=bool(held))


def _advice(name: str, given: dict[str, str], *, before: str = "", after: str = "", held: bool = False) -> Advice:
    """Of the base `name`; `given` is what the page is filled in with."""
    words = ["hubctl", "base", "add", name]
    words += ["--revision", given["revision"]] if given.get("revision") else []
    words += [] if held else ["--config", CONFIG]
    words += ["--alias", quote(given["alias"])] if given.get("alias") else []
    query = urlencode({key: value for key, value in given.items() if value})
    page = f"{PAGE}?{query}" if query else PAGE
    after = after if held else f" ({CONFIG} is the model's own file){after}"
    return Advice(command=" ".join([*words, "--wait"]), page=page, before=before, after=after)
