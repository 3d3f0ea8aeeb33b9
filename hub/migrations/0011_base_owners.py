"""Aliases get the spelling they are compared by, and sources a note whether an administrator gave them.

Where two aliases that are there differ in case alone, the older one has the spelling and the other keeps none; both
still stand for their bases.
"""

import unicodedata

from django.db import migrations, models

BATCH = 500


def fold_aliases(apps, schema_editor):
    aliases = apps.get_model('hub', 'BaseAlias').objects
    last = 0
    while batch := list(aliases.filter(pk__gt=last).order_by('pk')[:BATCH]):
        last = batch[-1].pk
        folded = {alias.pk: unicodedata.normalize('NFKC', alias.name).casefold().strip() for alias in batch}
        taken = set(
            aliases.filter(folded__in=list(folded.values())).exclude(pk__in=list(folded)).values_list('folded', flat=True)
        )
        for alias in batch:
            alias.folded = None if folded[alias.pk] in taken else folded[alias.pk]
            taken.add(folded[alias.pk])
        aliases.bulk_update(batch, ['folded'])


def note_administrators(apps, schema_editor):
    """Sources that administrators gave, and those of a hub with one account, go on as they are."""
    bases = apps.get_model('hub', 'BaseModel').objects.exclude(source={})
    users = apps.get_model('hub', 'User').objects
    staff = users.filter(is_staff=True) if users.count() > 1 else users.all()
    bases.filter(created_by__in=staff.values('pk')).update(source_by_admin=True)


class Migration(migrations.Migration):
    dependencies = [
        ('hub', '0010_worker_health'),
    ]

    operations = [
        migrations.AddField(
            model_name='basemodel',
            name='source_by_admin',
            field=models.BooleanField(
                default=False,
                help_text="an administrator said so: only then may `source` name another base's folder",
            ),
        ),
        migrations.AddField(
            model_name='basealias',
            name='folded',
            field=models.CharField(
                help_text="`fold(name)`; null for one that came before another's rule",
                max_length=1000,
                null=True,
                unique=True,
            ),
        ),
        migrations.RunPython(fold_aliases, migrations.RunPython.noop),
        migrations.RunPython(note_administrators, migrations.RunPython.noop),
    ]
