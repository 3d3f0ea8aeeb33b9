"""The pull-through mirror: a base that a client asks for and the hub has not is fetched from another hub, and kept.

guard      which ids and which addresses: what is not on the operator's lists is never asked for
fetching   one model, file by file, proven and bounded, without any token
bringing   who may start it, one at a time for each base; what clients are told meanwhile
"""

from hub.services.mirror.bringing import Fetching, bring

__all__ = ["Fetching", "bring"]
