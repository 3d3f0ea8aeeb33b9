"""A request's body as it arrives, for routes that take bytes."""

import io

from hub.errors import HubError


class LengthRequired(HubError):
    """A body sent in chunks of unknown number, where only its length tells its end."""

    status, code = 411, "length_required"


def body_stream(request) -> io.BufferedIOBase:
    """The request's body as it arrives; a body of unknown length is refused, since WSGI can't tell its end."""
    if not request.META.get("CONTENT_LENGTH") and request.headers.get("Transfer-Encoding"):
        raise LengthRequired("Send the bytes with a Content-Length, not chunked: WSGI can't tell where they end.")
    return request.stream or io.BytesIO()
