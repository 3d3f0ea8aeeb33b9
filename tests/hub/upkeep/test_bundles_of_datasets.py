"""Bundles with a model and a dataset of one name, and with datasets as parents."""

import pytest
from django.core.management import call_command

from hub.models import Parentage, Repository
from hub.services import repositories
from hub.services.upkeep.bundles import exporting
from hub.services.upkeep.purge import purge_repository
from tests.hub import factories

pytestmark = pytest.mark.django_db


def test_a_bundle_carries_both(people, twins, settings, tmp_path):
    settings.HUB_DATA = tmp_path
    path = tmp_path / "both.bundle"
    call_command("export", "lab/twin", "datasets/lab/twin", str(path))
    before = {row.path: sorted(row.revisions.values_list("oid", flat=True)) for row in twins}
    for row in twins:
        repositories.delete_repository(actor=people.owner, repository=row)
        purge_repository(actor=people.owner, repository=row)
    call_command("import", str(path), "--as", "owner")
    made = Repository.objects.filter(purged_at=None)
    assert {row.path: sorted(row.revisions.values_list("oid", flat=True)) for row in made} == before
    call_command("import", str(path), "--as", "owner")
    assert made.count() == 2


@pytest.mark.parametrize("older", [False, True])
def test_a_dataset_stays_the_parent_of_what_learnt_from_it(
    people, twin_data, base, settings, tmp_path, monkeypatch, older
):
    """Also from a bundle of the release before, which knew datasets by their bare names; and in another namespace."""
    settings.HUB_DATA = tmp_path
    child = factories.make_repository(people.owner, "child", namespace=people.lab)
    parents = [twin_data.versions.get()]
    factories.publish(people.owner, child, factories.adapter_files(), parents=parents, origin="trained")
    described = exporting._version

    def bare(version, together):
        row = described(version, together)
        return row | {"parents": [[name.removeprefix("datasets/"), *rest] for name, *rest in row["parents"]]}

    if older:
        monkeypatch.setattr(exporting, "_version", bare)
    path = tmp_path / "both.bundle"
    call_command("export", "lab/child", "datasets/lab/twin", str(path))
    for row in (child, twin_data):
        repositories.delete_repository(actor=people.owner, repository=row)
        purge_repository(actor=people.owner, repository=row)
    call_command("import", str(path), "--as", "owner", "--into", "owner")
    made = Parentage.objects.filter(child__repository__purged_at=None)
    assert [str(row) for row in made] == ["datasets/owner/twin@v1 → owner/child@v1"]
