"""What a job needs of a worker and how urgent it is, both kept with the job; indexes for whose turn it is."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0020_processes'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='need',
            field=models.CharField(db_default='', default='', help_text='what it needs of a worker, as `hub.services.jobs.scheduling.Need` writes it; empty: not yet known', max_length=200),
        ),
        migrations.AddField(
            model_name='job',
            name='priority',
            field=models.SmallIntegerField(choices=[(-10, 'low'), (0, 'normal'), (10, 'high'), (20, 'urgent')], db_default=0, default=0),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['output_namespace', '-started_at'], name='job_last_begun_in'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state', 'queued')), fields=['need', 'sent_at'], name='job_waiting_need'),
        ),
    ]
