"""What a merged export refuses."""


class ExportRefused(Exception):
    """Something given can't be merged; `code` is for programs, the message says what was given and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = f"export.{code}"
        self.message = message
