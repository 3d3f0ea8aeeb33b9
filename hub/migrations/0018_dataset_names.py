"""A dataset and a model of one namespace may share a name: the name is unique in each of the two name spaces."""

import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0017_first_pushes'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='repository',
            name='repository_name_unique',
        ),
        migrations.AddConstraint(
            model_name='repository',
            constraint=models.UniqueConstraint(models.F('namespace'), django.db.models.functions.text.Lower('name'), condition=models.Q(('kind', 'dataset')), name='dataset_name_unique'),
        ),
        migrations.AddConstraint(
            model_name='repository',
            constraint=models.UniqueConstraint(models.F('namespace'), django.db.models.functions.text.Lower('name'), condition=models.Q(('kind', 'dataset'), _negated=True), name='model_name_unique'),
        ),
    ]
