"""What all ways of an LFS file share: no more bytes than announced, and the answer where another was faster."""

from collections.abc import Callable
from typing import BinaryIO

from hub.errors import Conflict, Invalid
from hub.models import Arrival, ChunkStore
from hub.services.content.manifest import Entry
from hub.storage import CHUNK


def read_all(stream: BinaryIO, at: int, most: int, keep: Callable[[int, bytes], None]) -> int:
    """Give all that the stream holds to `keep` (offset, bytes); how many bytes. Invalid for more than `most`."""
    came = 0
    while data := stream.read(min(CHUNK, most - came + 1)):
        if came + len(data) > most:
            raise Invalid(
                f"{most:,} bytes were to come, and more were sent. Send the file again.",
                code="arrival.size",
                declared=most,
            )
        keep(at + came, data)
        came += len(data)
    return came


def arrived(store: ChunkStore, entry: Entry) -> Arrival | None:
    """The file, where it has come whole from the same user."""
    return Arrival.objects.filter(user=store.user, repository=store.repository, blob=entry.sha256).first()


class Gone(Conflict):
    """The file was here, and another request has completed or refused it."""

    code = "arrival.transfer_gone"

    def __init__(self) -> None:
        super().__init__(
            "Nothing of this file is here; another request has completed or refused it. Send it from its begin."
        )
