"""The mark of views that answer programs, in their own form: whatever stands at a page's address is asked for it."""

from collections.abc import Callable

from django.http import HttpResponseBase
from rest_framework.views import APIView


class ForPrograms(APIView):
    """A view that refuses by itself, so that no page has to say it."""

    @classmethod
    def as_view(cls, **initkwargs: object) -> Callable[..., HttpResponseBase]:
        """The view, marked."""
        view = super().as_view(**initkwargs)
        view.for_programs = True
        return view


def answers_programs(view: Callable[..., HttpResponseBase]) -> bool:
    """Whether a route's view says that it is none of a page."""
    return getattr(view, "for_programs", False)
