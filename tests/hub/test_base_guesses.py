"""What a name that nobody registered may mean: guessed for a sentence, and never from nothing."""

import pytest

from hub.access.base_guesses import guess
from tests.hub import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def bases():
    return [factories.make_base(name) for name in ("meta/Llama-3.1-8B", "Qwen/Qwen2.5-7B-Instruct", "ab/x1")]


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("/data/models/Llama-3.1-8B/", "meta/Llama-3.1-8B"),
        ("C:\\Users\\me\\llama-3.1-8b", "meta/Llama-3.1-8B"),
        ("../Llama_3.1_8B", "meta/Llama-3.1-8B"),
        ("https://huggingface.co/meta/Llama-3.1-8B", "meta/Llama-3.1-8B"),
        ("/root/.cache/huggingface/hub/models--meta--Llama-3.1-8B/snapshots/0123", "meta/Llama-3.1-8B"),
        ("other/Llama-3.1-8B", "meta/Llama-3.1-8B"),
        ("unsloth/llama-3.1-8b-unsloth-bnb-4bit", "meta/Llama-3.1-8B"),
        ("unsloth/Llama-3.1-8B-bnb-4bit", "meta/Llama-3.1-8B"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B-Instruct"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct"),
        ("bartowski/Qwen2.5-7B-Instruct-GGUF", "Qwen/Qwen2.5-7B-Instruct"),
        ("mlx/Qwen2.5-7B-Instruct-4bit", "Qwen/Qwen2.5-7B-Instruct"),
        ("nm/Qwen2.5-7B-Instruct-FP8-dynamic", "Qwen/Qwen2.5-7B-Instruct"),
    ],
)
def test_the_base_that_is_meant(bases, name, likely):
    found = guess(name, None)
    assert found.facts["likely"] == likely
    assert f"--base {likely}" in found.do


@pytest.mark.parametrize("name", ["", None, "meta/Llama-3.1-70B", "Qwen/Qwen2.5-7B", "/data/x1", "-bnb-4bit", "///"])
def test_nothing_is_guessed_from_nothing(bases, name):
    assert guess(name, None) is None


def test_a_copy_is_never_the_guess(bases):
    factories.make_base("me/Tiny-bnb-4bit", derived_from=bases[0], relation="quantized")
    assert guess("/models/Tiny-bnb-4bit", None) is None
