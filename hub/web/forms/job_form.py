"""A form that starts a job: what every one holds, how it is checked and started, what its page needs.

A form knows which fields it shows; what they mean together is a `JobRequest`, and whether that can start is `prepare`'s
to say. What was typed stays where it is refused.
"""

import json
import uuid
from dataclasses import dataclass, field

from django.http import QueryDict

from composition.registry import Method
from hub import access, queries
from hub.access import Viewer
from hub.models import Job, Version, Visibility
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.kinds.base import JobKind
from hub.services.jobs.queue import queue_job
from hub.services.jobs.report import check_job
from hub.services.jobs.request import JobRequest
from hub.web.forms.refusal import Refused, refusal_of


@dataclass(kw_only=True)
class JobForm:
    """`report` is the dry run's answer, `notice` what else a start has done; `key` makes two clicks one job."""

    viewer: Viewer
    method: Method
    recipe: dict
    namespace: str = ""
    name: str = ""
    visibility: str = ""
    key: str = ""
    report: dict | None = None
    notice: str = ""
    refused: Refused = field(default_factory=Refused)

    @property
    def kind(self) -> JobKind:
        """The home of the chosen method's kind."""
        return kind_of(self.method.kind)

    def request(self) -> JobRequest:
        """What the form asks for. Raises Invalid where its fields don't go together."""
        return JobRequest(
            kind=self.method.kind,
            recipe=self.recipe,
            output=(self.namespace, self.name) if self.kind.makes else None,
            visibility=self.visibility or None,
        )

    def submit(self, *, check: bool) -> Job | None:
        """Start the job, or with `check` only fill `report`; what is refused stands in `refused`."""
        access.require_user(self.viewer)
        with refusal_of(self.refused):
            if not check:
                return self.start(self.request())
            self.report = check_job(actor=self.viewer, request=self.request())
        return None

    def start(self, request: JobRequest) -> Job:
        """Queue the job."""
        access.require_user(self.viewer)
        return queue_job(actor=self.viewer, request=request, idempotency_key=self.key or None)

    def as_json(self) -> str:
        """The request a program would POST to /api/v1/jobs."""
        return json.dumps(self.outline(), indent=2)

    def outline(self) -> dict:
        """The body of that request, texts left out."""
        return self.request().to_body()

    def shared_context(self) -> dict:
        """What the templates of all forms take."""
        return {
            "namespaces": queries.writable(self.viewer),
            "visibilities": Visibility.values,
            "refused": self.refused,
            "report": self.report,
        }


def typed(viewer: Viewer, form: QueryDict) -> dict[str, str]:
    """What every form reads of its fields: where the result goes, who may see it, its key."""
    return {
        "namespace": form.get("namespace", "").strip() or next(iter(queries.writable(viewer)), ""),
        "name": form.get("name", "").strip(),
        "visibility": form.get("visibility", ""),
        "key": form.get("key", "")[:64] or uuid.uuid4().hex,
    }


def named_version(viewer: Viewer, form: QueryDict, field: str, kind: str) -> Version | None:
    """The version that a field names, None where it is empty; NotFound for what can't be seen."""
    name = form.get(field, "").strip()
    return access.parse_input(viewer, name, kind=kind) if name else None
