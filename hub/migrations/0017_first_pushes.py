"""An upload may name a repository that its commit is to make."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0016_worker_offers'),
    ]

    operations = [
        migrations.AddField(
            model_name='upload',
            name='kind',
            field=models.CharField(blank=True, db_default='', default='', max_length=10),
        ),
        migrations.AddField(
            model_name='upload',
            name='name',
            field=models.CharField(blank=True, db_default='', default='', max_length=96),
        ),
        migrations.AddField(
            model_name='upload',
            name='namespace',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='hub.namespace'),
        ),
        migrations.AddField(
            model_name='upload',
            name='visibility',
            field=models.CharField(blank=True, db_default='', default='', max_length=8),
        ),
        migrations.AlterField(
            model_name='upload',
            name='repository',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='uploads', to='hub.repository'),
        ),
    ]
