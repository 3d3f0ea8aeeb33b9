"""Uploads: resumed at any byte, checked before anything is visible, leaving nothing behind when refused."""

import pytest

from hub.models import Revision
from tests.hub import factories

pytestmark = pytest.mark.django_db


def test_a_card_alone_is_a_revision_without_version(owner, repository):
    result = factories.push(owner, repository, {"README.md": b"# Hello\n"})
    assert result.created
    assert result.version is None
    assert list(Revision.objects.values_list("pk", flat=True)) == [result.revision.pk]
