"""Quotas, and what each namespace stores counted from what is there; then `latest` is settled: it names the revision
that made the newest version, and a card edited since had moved it."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import F, Min, OuterRef, Subquery

BATCH = 500

# One statement each, since there may be millions of lines of manifests. Both databases read them.
COUNT_STORED = """
    INSERT INTO hub_stored (namespace_id, sha256, size)
    SELECT held.namespace_id, held.blob_id, hub_blob.size
    FROM (
        SELECT hub_repository.namespace_id, hub_manifestentry.blob_id
        FROM hub_manifestentry
        JOIN hub_revision ON hub_revision.id = hub_manifestentry.revision_id
        JOIN hub_repository ON hub_repository.id = hub_revision.repository_id
        UNION
        SELECT hub_repository.namespace_id, hub_companion.blob_id
        FROM hub_companion
        JOIN hub_repository ON hub_repository.id = hub_companion.repository_id
    ) AS held
    JOIN hub_blob ON hub_blob.sha256 = held.blob_id
"""
SUM_UP = """
    INSERT INTO hub_usage (namespace_id, stored_bytes, stored_files)
    SELECT namespace_id, SUM(size), COUNT(*) FROM hub_stored GROUP BY namespace_id
"""


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
        ('hub', '0007_identities'),
    ]

    operations = [
        migrations.CreateModel(
            name='Quota',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('limits', models.JSONField(default=dict)),
                ('updated_at', models.DateTimeField(auto_now=True)),
            ],
        ),
        migrations.CreateModel(
            name='SignUps',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('address', models.CharField(max_length=64)),
                ('day', models.DateField()),
                ('count', models.PositiveIntegerField(default=0)),
            ],
            options={
                'verbose_name_plural': 'sign-ups',
            },
        ),
        migrations.CreateModel(
            name='Stored',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sha256', models.CharField(max_length=64)),
                ('size', models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name='Usage',
            fields=[
                ('namespace', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='usage', serialize=False, to='hub.namespace')),
                ('stored_bytes', models.BigIntegerField(default=0)),
                ('stored_files', models.BigIntegerField(default=0)),
            ],
        ),
        migrations.AddField(
            model_name='namespace',
            name='created_by',
            field=models.ForeignKey(blank=True, help_text='who made the organisation', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state', 'queued')), fields=['created_by', 'id'], name='job_waiting'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['created_by', '-started_at'], name='job_last_begun'),
        ),
        migrations.AddIndex(
            model_name='upload',
            index=models.Index(condition=models.Q(('committed_at', None)), fields=['user'], name='upload_open'),
        ),
        migrations.AddField(
            model_name='quota',
            name='namespace',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='quota', to='hub.namespace'),
        ),
        migrations.AddField(
            model_name='quota',
            name='user',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='quota', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddConstraint(
            model_name='signups',
            constraint=models.UniqueConstraint(fields=('day', 'address'), name='sign_ups_once'),
        ),
        migrations.AddField(
            model_name='stored',
            name='namespace',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='stored', to='hub.namespace'),
        ),
        migrations.AddConstraint(
            model_name='quota',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('namespace', None), ('user__isnull', False)), models.Q(('namespace__isnull', False), ('user', None)), _connector='OR'), name='quota_of_one'),
        ),
        migrations.AddConstraint(
            model_name='stored',
            constraint=models.UniqueConstraint(fields=('namespace', 'sha256'), name='stored_once'),
        ),
        migrations.RunPython(settle_latest, migrations.RunPython.noop),
        migrations.RunSQL(COUNT_STORED, migrations.RunSQL.noop),
        migrations.RunSQL(SUM_UP, migrations.RunSQL.noop),
    ]
