"""The decode kernels under Triton's interpreter, where Triton is installed; their reference always."""

import os

import pytest
import torch

os.environ.setdefault("TRITON_INTERPRET", "1")

from composition.moe import kernels, lora_moe_peft
from tests.composition.moe_layers import OUT, inputs, layer, reference

needs_triton = pytest.mark.skipif(kernels.triton is None, reason="Triton is not installed")


def parts(mixture, x):
    blocks, (A, B, _) = mixture.blocks["default"], mixture.weights("default")
    chosen, weights = mixture.route(mixture.router_logits(x), "default")
    return A, B, chosen, weights, blocks


def test_the_reference_says_what_the_formulas_say():
    mixture, x = layer(), inputs(5, 24)
    with torch.no_grad():
        out = mixture.base_layer(x)
        kernels.decode_reference(x, out, *parts(mixture, x))
        torch.testing.assert_close(out, reference(mixture, x), rtol=1e-5, atol=1e-5)


@needs_triton
@pytest.mark.parametrize("ranks", [(4, 8, 2), (8, 8), (3, 0, 5)], ids=str)
@pytest.mark.parametrize(("width", "out"), [(24, OUT), (300, 129)])
@pytest.mark.parametrize("top_k", [1, 2])
def test_the_kernels_say_what_the_reference_says(ranks, width, out, top_k):
    mixture, x = layer(ranks=ranks, width=width, out=out, top_k=top_k), inputs(3, width)
    with torch.no_grad():
        ours, theirs = mixture.base_layer(x), mixture.base_layer(x)
        kernels.decode(x, ours, *parts(mixture, x))
        kernels.decode_reference(x, theirs, *parts(mixture, x))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@needs_triton
def test_the_layer_takes_the_kernels_once_installed(monkeypatch):
    monkeypatch.setattr(lora_moe_peft, "decode_kernel", None)
    kernels.install()
    mixture, x = layer(), inputs(2, 24)
    mixture.form = "kernel"
    with torch.no_grad():
        torch.testing.assert_close(mixture(x), reference(mixture, x), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(kernels.triton is not None, reason="Triton is installed")
def test_without_triton_installing_says_so():
    with pytest.raises(RuntimeError, match="Triton is not installed"):
        kernels.install()
