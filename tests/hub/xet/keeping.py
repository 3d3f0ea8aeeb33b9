"""A store of xorbs in memory, as the services keep them on disk: an index and the raw bytes by the xorb's hash."""

import io
from collections.abc import Callable

from hub.xet.files import rebuild
from hub.xet.shards import ShardFile
from hub.xet.xorbs import RawXorb, XorbIndex, receive_xorb


class Store:
    def __init__(self) -> None:
        self.kept: dict[bytes, tuple[bytes, bytes]] = {}
        self.open_now = self.most_open = 0

    def receive(self, body: bytes, claimed: bytes) -> XorbIndex:
        raw = io.BytesIO()
        index = receive_xorb(io.BytesIO(body), claimed, raw.write)
        self.kept[index.hash] = index.to_bytes(), raw.getvalue()
        return index

    def open(self, digest: bytes) -> RawXorb | None:
        if digest not in self.kept:
            return None
        index, raw = self.kept[digest]
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        return RawXorb(XorbIndex.from_bytes(index), Closing(raw, self._closed))

    def _closed(self) -> None:
        self.open_now -= 1

    def rebuilt(self, file: ShardFile, max_bytes: int = 1 << 40) -> bytes:
        return b"".join(rebuild(file, self.open, max_bytes=max_bytes))


class Closing(io.BytesIO):
    def __init__(self, raw: bytes, closed: Callable[[], None]) -> None:
        super().__init__(raw)
        self.told = closed

    def close(self) -> None:
        if not self.closed:
            self.told()
        super().close()
