"""Tasks of several processes that end badly; they load nothing but torch, so that starting them is quick."""

import os

import torch

from composition.errors import CompositionError


def dies(arguments, replicas, progress):
    """One process dies while the others wait for it."""
    if not replicas.first:
        os._exit(3)
    replicas.add(torch.ones(1))


def refuses(arguments, replicas, progress):
    """Every process refuses the same, as a training does its data."""
    raise CompositionError("train.few_documents", "Two documents are needed, and this has one.", documents=1)
