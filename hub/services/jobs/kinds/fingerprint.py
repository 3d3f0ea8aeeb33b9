"""Reading a base's shapes from its config; registering a base queues one."""

from composition.recipes import FingerprintRecipe
from hub.errors import Invalid
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import JobKind


class Fingerprint(JobKind):
    """A base in, its shapes out."""

    recipe = FingerprintRecipe
    makes = None

    def check(self, draft: Draft) -> None:
        self.check_counts(draft)
        if draft.request.base is None:
            raise Invalid("Give the base to fingerprint.", field="base")


HOME = Fingerprint()
