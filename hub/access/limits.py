"""What a token may be limited to: a namespace or one repository. Outside it, the token is a stranger.

A limit is kept by the ids of its rows. Ids are never given again, so that a limit whose row is gone covers nothing.
"""

from dataclasses import dataclass, field

from django.db.models import Q

from hub.models import Job, Kind, Namespace, Repository, Token


@dataclass(frozen=True, slots=True)
class Limit:
    """The id of a namespace or of a repository, one of the two; `name` is for sentences."""

    namespace: int | None = None
    repository: int | None = None
    name: str = field(default="", compare=False)

    def covers(self, place: Namespace | Repository) -> bool:
        """True for the place itself, and for a repository of the namespace."""
        if isinstance(place, Namespace):
            return self.namespace == place.pk
        return self.repository == place.pk or (self.namespace is not None and self.namespace == place.namespace_id)

    def holds(self, other: "Limit | None") -> bool:
        """True where `other` is no wider than this limit."""
        if other is None:
            return False
        inside = Repository.objects.filter(pk=other.repository, namespace=self.namespace)
        return self == other or bool(self.namespace and other.repository and inside.exists())

    def covered(self, prefix: str = "") -> Q:
        """The filter for repositories in it; `prefix` leads to them."""
        if self.repository:
            return Q(**{f"{prefix}pk": self.repository})
        return Q(**{f"{prefix}namespace": self.namespace})

    def jobs(self) -> Q:
        """The filter for jobs whose result goes here, and for those that were asked for under this limit."""
        if self.namespace:
            inside = Repository.objects.filter(namespace=self.namespace).values("pk")
            made = Q(limit_namespace=self.namespace) | Q(limit_repository__in=inside)
            return made | Q(output_namespace=self.namespace)
        made = Q(limit_repository=self.repository) | Q(output=self.repository)
        here = Repository.objects.exclude(kind=Kind.DATASET).filter(pk=self.repository)
        here = here.values_list("namespace", "name").first()
        return made | Q(output_namespace=here[0], output_name__iexact=here[1]) if here else made


def limit_of(token: Token) -> Limit | None:
    """The token's limit; None where it has none."""
    if token.repository_id:
        return Limit(repository=token.repository_id, name=token.repository.path)
    if token.namespace_id:
        return Limit(namespace=token.namespace_id, name=token.namespace.name)
    return None


def limit_of_job(job: Job) -> Limit | None:
    """The limit of the token that asked for the job; its places may be gone."""
    if job.limit_repository:
        found = Repository.objects.select_related("namespace").filter(pk=job.limit_repository).first()
        return Limit(repository=job.limit_repository, name=found.path if found else "a repository that is gone")
    if job.limit_namespace:
        found = Namespace.objects.filter(pk=job.limit_namespace).first()
        return Limit(namespace=job.limit_namespace, name=found.name if found else "a namespace that is gone")
    return None
