"""Protected refs with their history; events know where a request came from, and are found by actor, verb, address and time.

On a log of a million rows PostgreSQL builds the five indexes in some seconds, during which nobody writes to it."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0012_token_limits'),
    ]

    operations = [
        migrations.CreateModel(
            name='ProtectedRef',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('pattern', models.CharField(help_text='a name, or a pattern with * such as release-*', max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='RefMove',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=200)),
                ('kind', models.CharField(choices=[('branch', 'Branch'), ('tag', 'Tag')], max_length=6)),
                ('before', models.CharField(blank=True, max_length=40)),
                ('before_version', models.PositiveIntegerField(blank=True, null=True)),
                ('after', models.CharField(blank=True, help_text='empty where it was deleted', max_length=40)),
                ('after_version', models.PositiveIntegerField(blank=True, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.AddField(
            model_name='event',
            name='address',
            field=models.GenericIPAddressField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='event',
            name='once',
            field=models.CharField(blank=True, help_text='what is noted once only, such as a download in an hour', max_length=64, null=True),
        ),
        migrations.AddField(
            model_name='event',
            name='request',
            field=models.CharField(blank=True, help_text="the request's id, as in the log", max_length=64, null=True),
        ),
        migrations.AlterField(
            model_name='event',
            name='actor',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='events', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(fields=['actor', '-id'], name='event_actor'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(condition=models.Q(('actor_name__isnull', False)), fields=['actor_name', '-id'], name='event_actor_name'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(fields=['verb', '-id'], name='event_verb', opclasses=['varchar_pattern_ops', 'int8_ops']),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(condition=models.Q(('address__isnull', False)), fields=['address', '-id'], name='event_address'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(fields=['created_at', 'id'], name='event_time'),
        ),
        migrations.AddConstraint(
            model_name='event',
            constraint=models.UniqueConstraint(condition=models.Q(('once__isnull', False)), fields=('once',), name='event_once_unique'),
        ),
        migrations.AddField(
            model_name='protectedref',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='protectedref',
            name='namespace',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='protected_refs', to='hub.namespace'),
        ),
        migrations.AddField(
            model_name='protectedref',
            name='repository',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='protected_refs', to='hub.repository'),
        ),
        migrations.AddField(
            model_name='refmove',
            name='actor',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='refmove',
            name='repository',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='ref_moves', to='hub.repository'),
        ),
        migrations.AddConstraint(
            model_name='protectedref',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('namespace', None), ('repository__isnull', False)), models.Q(('namespace__isnull', False), ('repository', None)), _connector='OR'), name='protected_ref_of_one_place'),
        ),
        migrations.AddConstraint(
            model_name='protectedref',
            constraint=models.UniqueConstraint(fields=('namespace', 'pattern'), name='protected_ref_of_namespace_unique'),
        ),
        migrations.AddConstraint(
            model_name='protectedref',
            constraint=models.UniqueConstraint(fields=('repository', 'pattern'), name='protected_ref_of_repository_unique'),
        ),
        migrations.AddIndex(
            model_name='refmove',
            index=models.Index(fields=['repository', 'name', '-id'], name='ref_move_history'),
        ),
    ]
