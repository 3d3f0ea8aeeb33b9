"""One toy adapter, its seeds and its discriminator, made once a run."""

import pytest
import torch

from composition.recipes import DiscriminatorRecipe
from tests.transfer import toy
from transfer.discriminator import train_discriminator

torch.set_num_threads(1)


RESTS_ON_TRAINING = {"adapter", "discriminator"}


def pytest_collection_modifyitems(items):
    """What is judged by a trained toy is a test of how its training went, too."""
    for item in items:
        if RESTS_ON_TRAINING & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.trained)


@pytest.fixture(scope="session")
def adapter(tmp_path_factory):
    return toy.adapter(tmp_path_factory.mktemp("toy") / "adapter")


@pytest.fixture(scope="session")
def seeds():
    """Five rows, of both answers."""
    return toy.rows(5, 3)


@pytest.fixture(scope="session")
def discriminator(adapter, seeds, tmp_path_factory):
    return train_discriminator(
        toy.loader(0),
        adapter,
        toy.inputs(120, 5),
        [seed["prompt"] for seed in seeds],
        DiscriminatorRecipe(**toy.DISCRIMINATOR),
        work=tmp_path_factory.mktemp("discriminator"),
        source_name=toy.NAMES["source"],
    )
