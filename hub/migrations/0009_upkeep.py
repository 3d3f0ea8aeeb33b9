"""What upkeep keeps: its tasks and leases, tombstones of repositories, and the number in imported revisions' ids."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0008_quotas'),
    ]

    operations = [
        migrations.CreateModel(
            name='UpkeepTask',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=60, unique=True)),
                ('holder', models.CharField(blank=True, max_length=100)),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('next_at', models.DateTimeField(blank=True, null=True)),
                ('outcome', models.CharField(blank=True, help_text='done, failed or stopped; of the last run', max_length=10)),
                ('message', models.CharField(blank=True, max_length=300)),
            ],
        ),
        migrations.AddField(
            model_name='repository',
            name='purged_at',
            field=models.DateTimeField(blank=True, help_text='deleted for good; the row stays where other rows speak of its versions', null=True),
        ),
        migrations.AddField(
            model_name='repository',
            name='oid_key',
            field=models.PositiveBigIntegerField(blank=True, help_text='the number in its revision ids, where it came from another hub', null=True),
        ),
    ]
