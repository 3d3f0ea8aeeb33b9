"""Files as the parts that have come of them, and the objects that are left when nobody names them any more."""

import hashlib
import logging
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from io import BufferedReader
from typing import BinaryIO

from hub.models import StagedPart
from hub.services.content.staging.holding import renew
from hub.services.content.staging.object_store import Span, SpanReader, bucket
from hub.services.content.staging.writing import object_name
from hub.storage import CHUNK

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PartsFile:
    """A file as the parts that have come. `sha256` is what they are, "" where that has to be read."""

    spans: tuple[Span, ...]
    sha256: str = ""

    @property
    def size(self) -> int:
        return sum(span.size for span in self.spans)

    def open(self) -> BinaryIO:
        return BufferedReader(SpanReader(bucket(), self.spans), CHUNK)

    def digest(self) -> str:
        """Its SHA-256."""
        if self.sha256:
            return self.sha256
        computed = hashlib.sha256()
        for span in self.spans:
            renew()
            for data in bucket().stream(span.name, span.begin, span.size):
                computed.update(data)
        return computed.hexdigest()


def spans(parts: Collection[StagedPart]) -> tuple[Span, ...]:
    """Where the bytes of parts lie, in the order given."""
    return tuple(Span(object_name(part.name), 0, part.size, True) for part in parts)


def release(names: Collection[uuid.UUID]) -> None:
    """Remove objects that no row names any more. What can't be removed now is a stray, and is swept as such."""
    names = set(names)
    names -= set(StagedPart.objects.filter(name__in=names).values_list("name", flat=True)) if names else set()
    try:
        bucket().delete([object_name(name) for name in names])
    except Exception as error:
        log.warning("%d staged objects could not be removed: %r", len(names), error)
