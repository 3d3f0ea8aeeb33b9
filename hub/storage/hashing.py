"""Digests of streams."""

import hashlib
import re
from typing import BinaryIO

DIGEST = re.compile(r"[0-9a-f]{64}")
CHUNK = 1 << 20


def digest(stream: BinaryIO, out: BinaryIO | None = None) -> tuple[str, int]:
    """(sha256, size) of what `stream` still holds, copied to `out` on the way."""
    computed, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK):
        computed.update(chunk)
        size += len(chunk)
        if out is not None:
            out.write(chunk)
    return computed.hexdigest(), size
