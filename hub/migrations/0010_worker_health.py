from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0009_upkeep'),
    ]

    operations = [
        # With a default of the database's own, so that workers of the release before can still report themselves.
        migrations.AddField(
            model_name='workernode',
            name='trouble',
            field=models.CharField(blank=True, db_default='', default='', help_text='what keeps it from the broker', max_length=200),
        ),
    ]
