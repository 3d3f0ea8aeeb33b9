"""Tokens may be limited to a namespace or a repository; a job keeps the limit of the token that asked for it.

Workers get their host apart from their name."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0012_base_owners'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='limit_namespace',
            field=models.BigIntegerField(blank=True, help_text='id, kept when its row is gone: the limit of the token that asked for the job', null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='limit_repository',
            field=models.BigIntegerField(blank=True, help_text='the same for a token of one repository', null=True),
        ),
        migrations.AddField(
            model_name='token',
            name='namespace',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='hub.namespace'),
        ),
        migrations.AddField(
            model_name='token',
            name='repository',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='hub.repository'),
        ),
        migrations.AddField(
            model_name='jobfile',
            name='companion',
            field=models.BigIntegerField(blank=True, help_text='id of the companion it was taken from', null=True),
        ),
        migrations.AddField(
            model_name='workernode',
            name='host',
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddConstraint(
            model_name='token',
            constraint=models.CheckConstraint(condition=models.Q(('namespace', None), ('repository', None), _connector='OR'), name='token_one_limit'),
        ),
    ]
