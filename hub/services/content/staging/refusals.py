"""What is refused while bytes come: a piece that begins elsewhere, and a file or upload that another request holds."""

from hub.errors import Conflict


def wrong_offset(path: str, received: int, offset: int) -> Conflict:
    """The refusal of a piece that does not begin where the file ends."""
    return Conflict(
        f"{path} has {received} bytes here, and this piece begins at {offset}; send from {received} on.",
        code="upload.offset",
        received=received,
    )


def busy(**facts: object) -> Conflict:
    """The refusal where another request holds the upload or the file."""
    refusal = Conflict(
        "Another request is working on this at the moment; wait for it, then ask how much has come.",
        code="upload.busy",
        **facts,
    )
    refusal.headers["Retry-After"] = "2"
    return refusal
