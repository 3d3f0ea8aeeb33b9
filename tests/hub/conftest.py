"""People and places of the hub's tests."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from hub.models import BaseModel, Repository, User
from hub.services.signing_in import throttle
from tests.hub import factories
from tests.hub.s3_hosts import hosts, s3_address, s3_session  # noqa: F401


@pytest.fixture(autouse=True)
def no_earlier_tries(monkeypatch) -> None:
    """No test is slowed down by another's wrong passwords: tries are counted here, and from none."""
    monkeypatch.setattr(throttle, "_away_until", math.inf)
    throttle._memory.clear()


@pytest.fixture
def people(db) -> SimpleNamespace:
    """The roles every rule is tested in: owner (admin), member (writer) and reader of `lab`, and a stranger."""
    return factories.make_people()


@pytest.fixture
def owner(people: SimpleNamespace) -> User:
    """The admin of `lab`."""
    return people.owner


@pytest.fixture
def root(people: SimpleNamespace) -> User:
    """The site's administrator, a member of nothing."""
    return factories.make_user("root", is_staff=True)


@pytest.fixture
def base(db) -> BaseModel:
    """The pico base `pico/llama` with its shapes."""
    return factories.make_base()


@pytest.fixture
def repository(people: SimpleNamespace) -> Repository:
    """The empty public adapter repository `lab/sentiment`."""
    return factories.make_repository(people.owner, "sentiment", namespace=people.lab)


@pytest.fixture
def dataset(people: SimpleNamespace) -> Repository:
    """The empty public dataset repository `lab/sums`."""
    return factories.make_repository(people.owner, "sums", namespace=people.lab, kind="dataset")


@pytest.fixture
def store(settings, tmp_path) -> Path:
    """An empty blob store and upload folder for this test alone; the folder they lie in."""
    blobs = {**settings.STORAGES["blobs"], "OPTIONS": {"location": str(tmp_path / "blobs")}}
    settings.STORAGES = {**settings.STORAGES, "blobs": blobs}
    settings.UPLOAD_FOLDER = tmp_path / "uploads"
    return tmp_path


@pytest.fixture(params=["folder", "bucket"])
def either_store(request, store) -> str:
    """The same in turn in a folder and in S3."""
    if request.param == "bucket":
        request.getfixturevalue("hosts")
    return request.param


@pytest.fixture
def twin_model(people: SimpleNamespace, base: BaseModel) -> Repository:
    """The adapter `lab/twin`, with v1."""
    repository = factories.make_repository(people.owner, "twin", namespace=people.lab)
    factories.publish(people.owner, repository, factories.adapter_files(card="# The model\n"))
    return repository


@pytest.fixture
def twin_data(people: SimpleNamespace) -> Repository:
    """The dataset `datasets/lab/twin`, with v1."""
    repository = factories.make_repository(people.owner, "twin", namespace=people.lab, kind="dataset")
    factories.publish(people.owner, repository, factories.dataset_files() | {"README.md": b"# The data\n"})
    return repository


@pytest.fixture
def twins(twin_model: Repository, twin_data: Repository) -> tuple[Repository, Repository]:
    """A model and a dataset of one name."""
    return twin_model, twin_data
