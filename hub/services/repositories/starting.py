"""A repository with a first commit, as clients of the Hugging Face protocol expect a new one to be."""

import io

from django.db import transaction

from hub.models import Namespace, Repository, User
from hub.services.commits.attributes import DEFAULT, FILE
from hub.services.content.publishing import publish
from hub.services.repositories import create_repository
from hub.storage import blobs

MESSAGE = "initial commit"


@transaction.atomic
def start_repository(*, actor: User, namespace: Namespace, name: str, kind: str, visibility: str) -> Repository:
    """A repository whose `main` holds `.gitattributes` and nothing else. Raises what `create_repository` raises."""
    repository = create_repository(actor=actor, namespace=namespace, name=name, kind=kind, visibility=visibility)
    files = {FILE: blobs.put(io.BytesIO(DEFAULT))}
    publish(actor=actor, repository=repository, files=files, message=MESSAGE)
    return repository
