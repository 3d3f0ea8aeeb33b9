"""The command line's own fixtures: a served hub with a user, and `hubctl` signed in to it."""

from tests.hubctl.conftest import ada, folders, hubctl, served, signed_in  # noqa: F401
