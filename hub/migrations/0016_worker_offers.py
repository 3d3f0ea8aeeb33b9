from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0015_tombstones_and_touched_uploads'),
    ]

    operations = [
        # Null, so that workers of the release before can still report themselves.
        migrations.AddField(
            model_name='workernode',
            name='offers',
            field=models.JSONField(blank=True, help_text='models it could load, as `workers.offers` describes them; null where it does not say', null=True),
        ),
    ]
