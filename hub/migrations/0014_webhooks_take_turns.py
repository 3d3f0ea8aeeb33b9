"""The outbox sends webhooks by turns, and a delivery no longer holds its webhook in the database.

Rows that wait already have no lane; they are sent as before."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0013_administrators'),
    ]

    operations = [
        migrations.CreateModel(
            name='OutboxLane',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True)),
                ('free_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now, help_text='when its last row was done; while one is sent, its lease')),
            ],
        ),
        migrations.AddField(
            model_name='outbox',
            name='lane',
            field=models.CharField(blank=True, db_default='', default='', help_text='of a lane one is sent at a time', max_length=100),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='webhook',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='hub.webhook'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('attempts', 0), ('state', 'waiting')), fields=['webhook'], name='delivery_untried'),
        ),
        migrations.AddIndex(
            model_name='outbox',
            index=models.Index(condition=models.Q(('sent_at', None)), fields=['lane', 'next_at', 'id'], name='outbox_due_in_lane'),
        ),
    ]
