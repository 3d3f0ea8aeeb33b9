"""Why a process of the hub does not start."""


class CannotStart(Exception):
    """A sentence saying what stands in the way and what to do."""
