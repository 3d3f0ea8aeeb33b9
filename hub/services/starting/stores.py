"""All hosts of a site have one store: a host that looks elsewhere would answer that stored bytes are missing."""

from collections.abc import Callable

from django.conf import settings

from hub import faults
from hub.models import Blob
from hub.services.starting.refusal import CannotStart
from hub.storage import blobs

# How many of the first and of the last blobs by digest are looked for; one that is there is proof enough.
SAMPLES = 3


def require_the_sites_store(say: Callable[[str], None]) -> None:
    """CannotStart where the store can't be used, or lacks all the bytes that are looked for.

    A store that is away for now stops nothing: pages go on, and what needs it waits.
    """
    rows = Blob.objects.values_list("pk", flat=True)
    wanted = {*rows.order_by("pk")[:SAMPLES], *rows.order_by("-pk")[:SAMPLES]}
    if trouble := blobs.trouble():
        raise CannotStart(trouble)
    try:
        found = [blobs.exists(sha256) for sha256 in wanted]
    except Exception as error:  # each storage has errors of its own
        if not (fault := faults.passing(error)):
            raise
        say(f"{fault}; the hub starts all the same")
        return
    if wanted and not any(found):
        raise CannotStart(
            f"The store of this host ({_where()}) has none of the {len(wanted)} files looked for that the database "
            "knows. Give every host the same STORAGE_URL; a folder must be one that all hosts share."
        )


def _where() -> str:
    options = settings.STORAGES["blobs"]["OPTIONS"]
    return str(options.get("location") if "bucket_name" not in options else f"s3://{options['bucket_name']}")
