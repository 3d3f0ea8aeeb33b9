"""Bytes that come before the commit that names them, by the Hugging Face protocol (LFS, Xet).

    receive, adopt   a stream, or a finished file of this machine, is proven by digest and becomes an `Arrival`
    have, require    what a commit of this user to this repository may name: their arrivals, and what it holds already
    let_go, expire   what was committed, and what nobody came back for
    stores           where bytes lie that are no whole files yet
    chunks           uploads by Xet, of `xorb_files`, which lie in `xorb_runs` where they come in order
    transfers        LFS files, whole or in parts
    digests          the SHA-256 of files, computed while they come
    write_back       the disk begins on their bytes before they are synced

An arrival is bound to its user and its repository. It counts as the user's `staged_bytes` until it is let go.
"""

from hub.services.arrivals.expiry import expire, let_go
from hub.services.arrivals.receiving import adopt, expect, expect_all, note, receive
from hub.services.arrivals.standing import Unknown, have, require

__all__ = ["Unknown", "adopt", "expect", "expect_all", "expire", "have", "let_go", "note", "receive", "require"]
