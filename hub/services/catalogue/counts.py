"""How many public repositories have which value of a facet.

Changes are rows of their own and are added to the counts now and then, so that nobody who publishes waits for the row
of a common value. Whoever reads adds up both.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from django.db import connection, transaction

from hub.models import FacetChange, Repository

OFTEN = 500
"""Changes after which they are added to the counts."""
AT_ONCE = 5000
ADD = """
INSERT INTO hub_facetcount (kind, facet, value, n) VALUES (%s, %s, %s, %s)
ON CONFLICT (kind, facet, value) DO UPDATE SET n = hub_facetcount.n + excluded.n
"""
DROP = "DELETE FROM hub_facetcount WHERE kind = %s AND facet = %s AND value = %s AND n = 0"
KIND = "kind"
"""The facet that every repository has once: its value is ""."""


def values_of(row: Repository, tags: Sequence[str]) -> set[tuple[str, str]]:
    """(facet, value) of all that the repository counts in; its namespace and base are loaded."""
    found = {
        "base": row.base.name if row.base_id else "",
        "base_id": str(row.base_id or ""),
        "peft_type": row.peft_type,
        "rank": str(row.rank or ""),
        "license": row.license,
        "origin": row.origin,
        "owner": row.namespace.name if row.namespace_id else "",
    }
    return {(KIND, ""), *((facet, value) for facet, value in found.items() if value), *(("tag", tag) for tag in tags)}


def change(gone: Collection[tuple[str, str, str]], come: Collection[tuple[str, str, str]]) -> None:
    """Count (kind, facet, value) of `gone` once less, of `come` once more; those that are given twice, twice."""
    changes = Counter(come)
    changes.subtract(Counter(gone))
    rows = [FacetChange(kind=kind, facet=facet, value=value, n=n) for (kind, facet, value), n in changes.items() if n]
    made = FacetChange.objects.bulk_create(rows)
    if made and made[0].pk // OFTEN != (made[-1].pk + 1) // OFTEN:
        transaction.on_commit(add_up, robust=True)


@transaction.atomic
def add_up() -> int:
    """Add the changes to the counts, those that no one else is adding; how many."""
    skip = {"skip_locked": True} if connection.features.has_select_for_update_skip_locked else {}
    changes = list(FacetChange.objects.select_for_update(**skip).order_by("pk")[:AT_ONCE])
    sums: Counter[tuple[str, str, str]] = Counter()
    for row in changes:
        sums[row.kind, row.facet, row.value] += row.n
    add(sums)
    FacetChange.objects.filter(pk__in=[row.pk for row in changes]).delete()
    return len(changes)


def add(sums: Mapping[tuple[str, str, str], int]) -> None:
    """Add to the counts themselves, in the caller's transaction, which ends soon: others wait for these rows."""
    # In one order everywhere, so that two who add wait for each other and never in a circle.
    rows = [(*key, n) for key, n in sorted(sums.items()) if n]
    with connection.cursor() as cursor:
        cursor.executemany(ADD, rows)
        cursor.executemany(DROP, [row[:3] for row in rows if row[3] < 0])
