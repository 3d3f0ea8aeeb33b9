"""Gives the events that are there their keys. Not in one transaction: a log may have millions of rows, and each batch
stands by itself, so a run that is cut off goes on where it was."""

import re

from django.db import migrations

BATCH = 500
OF_A_NAMESPACE = ('user.create', 'organisation.create', 'member.set', 'member.remove')
OF_A_REPOSITORY = ('repository.', 'publish', 'tag.', 'companion.', 'upload.')
REPOSITORY = re.compile(r'([^/@ ]+/[^/@ ]+)(?:@v[0-9]+)?')
VERSION = re.compile(r'([^/@ ]+/[^/@ ]+)@v[0-9]+')
JOB = re.compile(r'job ([0-9]{1,18})')


def fill_keys(apps, schema_editor):
    """Give the events that are there their keys, as far as their words tell; an account's and a base's have none."""
    get = apps.get_model
    events = get('hub', 'Event').objects.filter(namespace=None, repository=None).order_by('pk')
    namespaces = dict(get('hub', 'Namespace').objects.values_list('name', 'pk'))
    rows = get('hub', 'Repository').objects.values_list('namespace__name', 'name', 'namespace_id', 'pk')
    repositories = {f'{namespace}/{name}'.lower(): (place, pk) for namespace, name, place, pk in rows}
    last = 0
    while batch := list(events.filter(pk__gt=last)[:BATCH]):
        last = batch[-1].pk
        jobs = _jobs(get, {int(m[1]) for e in batch if e.verb.startswith('job.') and (m := JOB.fullmatch(e.object))})
        for event in batch:
            keys = _keys(event, namespaces, repositories, jobs)
            event.namespace_id, event.repository_id = keys or (None, None)
        get('hub', 'Event').objects.bulk_update(batch, ['namespace', 'repository'])


def _keys(event, namespaces, repositories, jobs):
    """(namespace id, repository id or None) of one event, or None."""
    if event.verb in OF_A_NAMESPACE:
        return namespaces.get(event.object), None
    if event.verb.startswith(OF_A_REPOSITORY):
        found = REPOSITORY.fullmatch(event.object)
        return found and repositories.get(found[1].lower())
    if event.verb == 'evaluate':
        found = VERSION.fullmatch(event.object) or VERSION.fullmatch(str(event.detail.get('dataset')))
        return found and repositories.get(found[1].lower())
    found = event.verb.startswith('job.') and JOB.fullmatch(event.object)
    job = found and jobs.get(int(found[1]))
    if not job:
        return None
    place, path, output, first = job
    if place is None:
        return first or None
    made = repositories.get(path.lower())
    return place, output or (made and made[1])


def _jobs(get, pks):
    """Job id → (output namespace's id, `ns/name` of the output, its repository's id, keys of its first input).

    The last are left out where the job's owner is no member there.
    """
    inputs = get('hub', 'JobInput').objects.filter(job__in=pks).order_by('-role', '-position')
    first = {
        job: (namespace, repository)
        for job, namespace, repository in inputs.values_list(
            'job', 'version__repository__namespace', 'version__repository'
        )
    }
    rows = get('hub', 'Job').objects.filter(pk__in=pks)
    columns = ('pk', 'created_by', 'output_namespace', 'output_namespace__name', 'output_name', 'output')
    jobs = list(rows.values_list(*columns))
    members = get('hub', 'Membership').objects.filter(user__in={owner for _, owner, *_ in jobs})
    memberships = set(members.values_list('user', 'namespace'))
    return {
        pk: (place, f'{namespace}/{name}', output, pk in first and (owner, first[pk][0]) in memberships and first[pk])
        for pk, owner, place, namespace, name, output in jobs
    }


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('hub', '0002_events_by_place_and_outbox'),
    ]

    operations = [
        migrations.RunPython(fill_keys, migrations.RunPython.noop),
    ]
