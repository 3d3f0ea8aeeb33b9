"""What merges and mixtures share: adapters of one base in, where quantised relatives are one base after a word."""

from hub.access import Viewer
from hub.errors import Invalid
from hub.services.base_families import WORD, unquantised
from hub.services.jobs.kinds.base import JobKind, refuse_other_bases
from hub.services.jobs.request import JobRequest


class Combining(JobKind):
    """Adapters of one base become one; the recipe's field `WORD` lets them be of quantised copies of that base."""

    def completed(self, viewer: Viewer, request: JobRequest) -> JobRequest:
        """Of adapters on quantised relatives, the result is for the base that is not quantised."""
        bases = {version.base_id: version.base for version in request.adapters if version.base}
        if request.base or len(bases) < 2 or not says_across(request):
            return request
        return request.replace(base=unquantised(request.adapters[0].base))

    def check_bases(self, request: JobRequest) -> None:
        across = says_across(request)
        refuse_other_bases(request, across)
        own, asked = request.adapters[0].base if request.adapters else None, request.base
        if asked and own and asked.pk != own.pk and not (across and asked.pk == unquantised(own).pk):
            raise Invalid(f"The adapters belong to {own}, not to {asked}.", field="base")


def says_across(request: JobRequest) -> bool:
    """Whether the recipe takes adapters of quantised relatives as adapters of one base."""
    return request.recipe.get(WORD) is True
