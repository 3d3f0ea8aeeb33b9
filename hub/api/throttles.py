"""Signing in is slowed down: ten tries a minute from one address for one name, thirty for one name from anywhere."""

from rest_framework.throttling import SimpleRateThrottle


class SignInThrottle(SimpleRateThrottle):
    """By the peer's address and the name; an X-Forwarded-For header, which anyone can write, is not believed."""

    rate = "10/min"
    scope = "sign-in"

    def get_cache_key(self, request, view) -> str:
        return f"{self.scope}:{request.META.get('REMOTE_ADDR', '')}:{_name(request)}"


class SignInUserThrottle(SimpleRateThrottle):
    """By the name alone, against guessing from many addresses."""

    rate = "30/min"
    scope = "sign-in-user"

    def get_cache_key(self, request, view) -> str:
        return f"{self.scope}:{_name(request)}"


def _name(request) -> str:
    name = request.data.get("username") if isinstance(request.data, dict) else ""
    return str(name)[:150].lower().encode().hex()
