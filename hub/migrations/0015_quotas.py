"""`latest` names the revision that made the newest version: a card edited since had moved it."""

from django.db import migrations
from django.db.models import F, Min, OuterRef, Subquery

BATCH = 500


def settle_latest(apps, schema_editor):
    """Point each `latest` that a card has moved back at its version's own revision."""
    Ref, Revision = apps.get_model('hub', 'Ref'), apps.get_model('hub', 'Revision')
    own = Revision.objects.filter(version=OuterRef('revision__version')).order_by().values('version')
    moved = Ref.objects.filter(name='latest').annotate(own=Subquery(own.annotate(first=Min('pk')).values('first')))
    rows = list(moved.exclude(revision=F('own')).exclude(own=None).order_by('pk').values_list('pk', 'own'))
    for begin in range(0, len(rows), BATCH):
        batch = [Ref(pk=pk, revision_id=own) for pk, own in rows[begin : begin + BATCH]]
        Ref.objects.bulk_update(batch, ['revision'])


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0003_event_keys'),
    ]

    operations = [
        migrations.RunPython(settle_latest, migrations.RunPython.noop),
    ]
