import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('hub', '0022_estimates'),
    ]

    operations = [
        migrations.AddField(
            model_name='upload',
            name='held_by',
            field=models.CharField(blank=True, db_default='', default='', max_length=32),
        ),
        migrations.AddField(
            model_name='upload',
            name='held_until',
            field=models.DateTimeField(blank=True, help_text='until then one request commits or removes it, where the bytes are in S3', null=True),
        ),
        migrations.CreateModel(
            name='Transfer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sha256', models.CharField(max_length=64)),
                ('size', models.BigIntegerField()),
                ('store', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='transfers', to='hub.chunkstore')),
            ],
        ),
        migrations.CreateModel(
            name='StagedPart',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('offset', models.BigIntegerField()),
                ('size', models.BigIntegerField()),
                ('name', models.UUIDField(db_index=True, help_text='of the object')),
                ('sha256', models.CharField(blank=True, default='', help_text="of the file up to this part's end; empty where nobody knows", max_length=64)),
                ('file', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='parts', to='hub.uploadfile')),
                ('transfer', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='parts', to='hub.transfer')),
            ],
        ),
        migrations.AddConstraint(
            model_name='transfer',
            constraint=models.UniqueConstraint(fields=('store', 'sha256', 'size'), name='transfer_once'),
        ),
        migrations.AddConstraint(
            model_name='stagedpart',
            constraint=models.UniqueConstraint(fields=('file', 'offset'), name='part_of_file_once'),
        ),
        migrations.AddConstraint(
            model_name='stagedpart',
            constraint=models.UniqueConstraint(fields=('transfer', 'offset'), name='part_of_transfer_once'),
        ),
        migrations.AddConstraint(
            model_name='stagedpart',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('file', None), ('transfer__isnull', False)), models.Q(('file__isnull', False), ('transfer', None)), _connector='OR'), name='part_of_one'),
        ),
    ]
