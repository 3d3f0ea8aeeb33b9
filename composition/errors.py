"""Errors that a user can fix. Any other exception raised in this room is our own fault and carries no code."""


class CompositionError(Exception):
    """A refusal with a stable `code`, a message saying what was given, expected and to do, and facts for machines."""

    def __init__(self, code: str, message: str, **facts: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.facts = facts

    def to_dict(self) -> dict[str, object]:
        """JSON form: code, message and the facts."""
        return {"code": self.code, "message": self.message, **self.facts}


class RecipeError(CompositionError):
    """A recipe field holds a value that can't be used; `field` names it."""

    def __init__(self, field: str, message: str, **facts: object) -> None:
        super().__init__("recipe.invalid", message, field=field, **facts)
        self.field = field


class Cancelled(Exception):
    """Raised by a progress callback to stop a running method; nothing has been written."""
