"""Where a base is put, given the GPUs that the machine reports; the tests need no GPU."""

import pytest
import torch

from workers import devices


@pytest.fixture
def gpus(monkeypatch):
    def gpus(count, free):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80))

    return gpus


@pytest.mark.parametrize(
    ("count", "free", "needed", "where"),
    [
        (0, 0, 10, None),
        (1, 10, 10, {"": 0}),
        (1, 9, 10, "auto"),  # over into the machine's memory
        (2, 20, 10, {"": 0}),
        (2, 19, 10, "auto"),  # over both, so that there is room to work in
    ],
)
def test_a_base_lies_on_the_first_gpu_where_it_fits(gpus, count, free, needed, where):
    gpus(count, free)
    assert devices.placement(needed) == where


@pytest.mark.parametrize(("count", "said", "processes"), [(0, 0, 1), (1, 0, 1), (4, 0, 4), (4, 2, 2), (0, 2, 2)])
def test_a_training_takes_one_process_a_gpu_or_what_is_said(gpus, settings, count, said, processes):
    gpus(count, 0)
    settings.TRAINING_PROCESSES = said
    assert devices.processes() == processes
