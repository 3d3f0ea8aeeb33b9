"""Who the token's user is, and what every client asks before anything else."""

from rest_framework.response import Response

from hub import access, queries
from hub.hf.view import STORING, View


class WhoAmI(View):
    """`GET /api/whoami-v2`: needs a token, of any scope."""

    scopes = {"GET": "download", "HEAD": "download"}

    def get(self, request):
        user = access.require_user(self.viewer)
        organisations = [m.namespace for m in queries.memberships(self.viewer) if m.namespace.is_organisation]
        token = request.auth
        return Response(
            {
                "type": "user",
                "id": str(user.pk),
                "name": user.username,
                "fullname": user.namespace.display_name or user.username,
                "email": user.email or None,
                "emailVerified": bool(user.email),
                "isPro": False,
                "canPay": False,
                "orgs": [_organisation(namespace) for namespace in organisations],
                "auth": {
                    "type": "access_token",
                    "accessToken": {
                        "displayName": token.name,
                        "role": "write" if self.viewer.has_scope("write") else "read",
                        "createdAt": token.created_at,
                    },
                },
            }
        )


def _organisation(namespace) -> dict:
    return {
        "type": "org",
        "id": str(namespace.pk),
        "name": namespace.name,
        "fullname": namespace.display_name or namespace.name,
        "isEnterprise": False,
    }


class Harnesses(View):
    """`GET /api/agent-harnesses`: asked by every new process; an answer is kept for a day, a 404 asked again."""

    authentication_classes = []

    def get(self, request):
        return Response({"standardEnvVars": [], "harnesses": {}})


class Telemetry(View):
    """What clients tell of themselves is dropped unread."""

    authentication_classes = []
    little = STORING

    def post(self, request, rest=""):
        return Response({})

    head = post
