"""The Grams of pairs of adapters, kept in the worker's cache: facts of two contents, made once, safe to lose.

They are named by the digests of both contents and found by nothing else: whoever asks has both adapters as inputs of a
job, which were checked. So they tell nobody of a version that they can't see, and a deleted version's lie unused until
the cache needs their room.
"""

import hashlib
import logging
from collections.abc import Sequence

from composition.progress import Progress
from hub.models import JobInput
from workers.attempt import Attempt
from workers.inputs import adapter_of
from workers.worker import Worker

log = logging.getLogger(__name__)


def kept_pairs(worker: Worker, rows: Sequence[JobInput]) -> dict:
    """(i, j) with i ≤ j → the Grams of the inputs i and j, of those pairs that are kept whole."""
    from composition.merging.compare.blocks import PairGrams

    found = {}
    for i, one in enumerate(rows):
        for j, other in enumerate(rows[i:], i):
            name, turned = _name(one.digest, other.digest)
            data = worker.cache.kept(name)
            grams = PairGrams.from_bytes(data) if data is not None else None
            if data is not None and grams is None:
                log.warning("%s is damaged; it is made again", name)
            if grams is not None:
                found[i, j] = grams.turned() if turned else grams
    return found


def make_pairs(
    attempt: Attempt, worker: Worker, rows: Sequence[JobInput], names: Sequence[str], known: dict, progress: Progress
) -> dict:
    """All pairs: the known ones, and the others made in one pass over the files of the adapters that they need."""
    from composition.merging.compare.blocks import pair_grams

    missing = [(i, j) for i in range(len(rows)) for j in range(i, len(rows)) if (i, j) not in known]
    if not missing:
        return known
    places = sorted({place for pair in missing for place in pair})
    adapters = [adapter_of(attempt, worker, rows[place], names[place]) for place in places]
    at = {place: index for index, place in enumerate(places)}
    made = pair_grams(adapters, [(at[i], at[j]) for i, j in missing], progress=progress)
    whole = {**known, **{(i, j): made[at[i], at[j]] for i, j in missing}}
    keep = {}
    for i, j in missing:
        name, turned = _name(rows[i].digest, rows[j].digest)
        keep[name] = (whole[i, j].turned() if turned else whole[i, j]).to_bytes()
    worker.cache.keep(keep)
    return whole


def _name(one: str, other: str) -> tuple[str, bool]:
    """The name of an unordered pair, and whether the pair as asked is turned about."""
    first, second = sorted((one, other))
    return f"grams-{hashlib.sha256(f'{first} {second}'.encode()).hexdigest()}", first != one
