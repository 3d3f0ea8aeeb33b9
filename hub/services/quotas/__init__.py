"""Shares: what a namespace and a user may use, refused where it would be exceeded.

`require` counts things before one more is made, `stored.charge` the bytes of what is published; both under a lock
that is held to the end of the transaction, so that two at once can't both have the last of it.
"""

from hub.services.quotas.limits import aliases_exceeded, require, set_quota
from hub.services.quotas.sign_ups import count_sign_up
from hub.services.quotas.stored import charge, expect, hold, miscounted, recount, refuse_many_files, release

__all__ = [
    "aliases_exceeded",
    "charge",
    "count_sign_up",
    "expect",
    "hold",
    "miscounted",
    "recount",
    "refuse_many_files",
    "release",
    "require",
    "set_quota",
]
