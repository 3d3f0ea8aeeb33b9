"""A store that does not answer in time, told apart from a file that is missing or damaged.

botocore's time-outs are OSErrors too, as `open` and `read` of a file raise. Whoever reads a blob and takes an OSError
for a lost or broken file would say so of every file while the store hangs.
"""

import contextlib
from collections.abc import Iterator


def no_os_error(error: BaseException) -> BaseException:
    """The same fault as an error of the store's client alone; other errors as they are."""
    if not isinstance(error, OSError):
        return error
    from botocore.exceptions import BotoCoreError, HTTPClientError

    return HTTPClientError(error=error) if isinstance(error, BotoCoreError) else error


@contextlib.contextmanager
def told_apart() -> Iterator[None]:
    """Around what reads from the store: its time-outs leave as no OSError."""
    try:
        yield
    except OSError as error:
        plain = no_os_error(error)
        if plain is error:
            raise
        raise plain from error
