"""Asking for the files of a gated repository, and deciding on it: `…/ask-access`, `…/user-access-request/…`."""

from rest_framework.response import Response

from hub import queries
from hub.errors import Invalid
from hub.hf import places
from hub.hf.view import View
from hub.models import AccessRequest, AccessState
from hub.names import split_place
from hub.services.sharing import access_requests


class Ask(View):
    """`POST /{id}/ask-access`: for anyone signed in who sees the repository; a token that may read is enough."""

    scopes = {"POST": "read"}

    def post(self, request, namespace, name):
        owner, datasets = split_place(namespace)
        place = places.place(self.viewer, places.DATASETS if datasets else places.MODELS, owner, name)
        return Response(shown(access_requests.ask(actor=self.actor(), repository=place.repository)))


class Listed(View):
    """`GET …/user-access-request/{pending|accepted|rejected}`, for admins."""

    scopes = {"GET": "admin"}

    def get(self, request, type, namespace, name, state):
        place = places.place(self.viewer, type, namespace, name, "admin")
        return Response([shown(row) for row in queries.access_requests(place.repository, state)])


class Handle(View):
    """`POST …/user-access-request/handle` {"user" or "requestId", "status"}. No reason for a refusal is kept."""

    scopes = {"POST": "admin"}

    def post(self, request, type, namespace, name):
        repository = places.place(self.viewer, type, namespace, name, "admin").repository
        body = self.body()
        which = {"user": self.text("user")} if body.get("user") else {"pk": _number(body.get("requestId"))}
        found = queries.access_request(repository, **which)
        state = str(body.get("status") or "")
        done = access_requests.decide(actor=self.actor(), repository=repository, request=found, state=state)
        return Response(shown(done))


class Grant(View):
    """`POST …/user-access-request/grant` {"user"}: let in who has not asked."""

    scopes = {"POST": "admin"}

    def post(self, request, type, namespace, name):
        repository = places.place(self.viewer, type, namespace, name, "admin").repository
        user = queries.user(self.text("user"))
        return Response(shown(access_requests.grant(actor=self.actor(), repository=repository, user=user)))


def shown(row: AccessRequest) -> dict:
    """A request as the client reads it. No mail address goes out: who asks for files didn't agree to that."""
    user = row.user
    return {
        "requestId": str(row.pk),
        "status": row.state,
        "timestamp": row.created_at,
        "grantedBy": {"user": row.decided_by.username}
        if row.decided_by and row.state == AccessState.ACCEPTED
        else None,
        "user": {
            "user": user.username,
            "fullname": user.namespace.display_name or user.username,
            "email": None,
            "type": "user",
        },
    }


def _number(value: object) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    raise Invalid(f"requestId is {value!r}; give the number of a request, or user: its name.", field="requestId")
