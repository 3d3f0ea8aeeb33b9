import uuid

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Outbox',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('topic', models.CharField(max_length=60)),
                ('key', models.UUIDField(default=uuid.uuid4, editable=False)),
                ('payload', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('attempts', models.PositiveIntegerField(default=0, help_text='how often a drainer took it')),
                ('next_at', models.DateTimeField(default=django.utils.timezone.now, help_text='not before; while a drainer has it, its lease')),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
                ('error', models.CharField(blank=True, help_text='of the last attempt', max_length=1000)),
            ],
            options={
                'verbose_name_plural': 'outbox',
            },
        ),
        migrations.AddField(
            model_name='event',
            name='namespace',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='events', to='hub.namespace'),
        ),
        migrations.AddField(
            model_name='event',
            name='repository',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='events', to='hub.repository'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(fields=['namespace', '-id'], name='hub_event_namespa_9a4e00_idx'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(fields=['repository', '-id'], name='hub_event_reposit_f6c1d4_idx'),
        ),
        migrations.AddIndex(
            model_name='outbox',
            index=models.Index(condition=models.Q(('sent_at', None)), fields=['next_at', 'id'], name='outbox_due'),
        ),
        migrations.AddIndex(
            model_name='outbox',
            index=models.Index(condition=models.Q(('sent_at__isnull', False)), fields=['sent_at'], name='outbox_sent'),
        ),
    ]
