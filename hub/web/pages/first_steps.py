"""What to do on a hub that is still empty: an account, a base, an adapter, a merge; each with its page and command."""

from django.conf import settings
from django.urls import reverse

from hub import queries
from hub.access import Viewer
from hub.models import Kind


def first_steps(viewer: Viewer, address: str) -> list[dict]:
    """[{"title", "text", "label", "link", "command", "done", "next"}] in order; `next` is the first that is to do."""
    name = viewer.user.username if viewer.user else "you"
    adapters = queries.repositories(viewer, kind=Kind.ADAPTER).exclude(versions=None)
    steps = [
        {
            "title": "Make an account",
            "text": "Pushing and merging need one; looking around does not.",
            "label": "Sign up" if settings.SIGN_UP_OPEN else "Sign in",
            "link": reverse("sign_up" if settings.SIGN_UP_OPEN else "sign_in"),
            "command": "",
            "done": viewer.user is not None,
        },
        {
            "title": "Register a base model",
            "text": "An adapter belongs to a base. Its config.json is enough, or choose one that a worker holds.",
            "label": "Register a base",
            "link": reverse("new_base"),
            "command": f"hubctl login {address}\nhubctl base add org/model --config config.json --wait",
            "done": queries.bases(viewer).exists(),
        },
        {
            "title": "Push adapters of it",
            "text": "The folder that PEFT wrote. It is checked against the base before anyone sees it.",
            "label": "Upload an adapter",
            "link": reverse("upload"),
            "command": f"hubctl push ./adapter {name}/my-adapter",
            "done": adapters.exists(),
        },
        {
            "title": "Merge two of them",
            "text": "The result is a version of its own, with its recipe and parents.",
            "label": "Merge",
            "link": reverse("merge"),
            "command": f"hubctl merge lego {name}/one {name}/two --rank 16 --to {name}/both --wait",
            "done": False,
        },
    ]
    upcoming = next(step for step in steps if not step["done"])
    return [{**step, "next": step is upcoming} for step in steps]
