"""Tombstones keep no base and no name of their own, and outlive their namespace; uploads know when bytes last came.

Uploads that are open when this runs count as touched now."""

import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models


def cut_tombstones_loose(apps, schema_editor):
    """As purging does from now on."""
    stones = apps.get_model("hub", "Repository").objects.filter(purged_at__isnull=False)
    apps.get_model("hub", "Version").objects.filter(repository__in=stones).update(base=None)
    for pk in stones.values_list("pk", flat=True):
        stones.filter(pk=pk).update(base=None, name=f"deleted~{pk}")


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0014_webhooks_take_turns'),
    ]

    operations = [
        migrations.AddField(
            model_name='upload',
            name='touched_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), default=django.utils.timezone.now, help_text='when bytes last came, to the minute; it expires by this'),
        ),
        migrations.AlterField(
            model_name='repository',
            name='namespace',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='repositories', to='hub.namespace'),
        ),
        migrations.AddConstraint(
            model_name='repository',
            constraint=models.CheckConstraint(condition=models.Q(('namespace__isnull', False), ('purged_at__isnull', False), _connector='OR'), name='repository_in_a_namespace'),
        ),
        migrations.RunPython(cut_tombstones_loose, migrations.RunPython.noop),
    ]
