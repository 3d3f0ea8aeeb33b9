"""The base of all of them: a session, or a token with the scope admin, of an administrator of the site."""

from hub import access
from hub.api.bodies import Body, Text
from hub.api.view import View
from hub.services.administration import MAX_REASON

TAGS = ["administration"]


class AdminView(View):
    """Refuses everybody else before anything is looked up."""

    scopes = dict.fromkeys(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), "admin")

    def initial(self, request, *args, **kwargs) -> None:
        super().initial(request, *args, **kwargs)
        access.require_site_admin(self.viewer)


class ReasonBody(Body):
    """Why; it stands in the audit log."""

    reason = Text(max_length=MAX_REASON, default="", allow_blank=True)
