"""What a Xet upload is refused for."""

from composition.errors import CompositionError


class XetError(CompositionError):
    """A refusal of an upload: its `code` is `xet.…` and stands in docs/xet.md; `facts` name the xorb, chunk or file."""

    def __init__(self, reason: str, message: str, **facts: object) -> None:
        super().__init__(f"xet.{reason}", message, **facts)
