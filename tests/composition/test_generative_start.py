"""Beginning aligned: keys of equal weight, queries that are their regression, values that say their token."""

import pytest
import torch
from sklearn.linear_model import Ridge

from composition.errors import Cancelled, RecipeError
from composition.generative.encode import layer_states
from composition.generative.hooks import adapting, reading
from composition.generative.layer import Generator, rms_norm
from composition.generative.start import SHRINK, SINK, align
from composition.generative.train import base_norms, linear_shapes, train_generator
from composition.recipes import TrainGeneratorRecipe
from tests.composition.generators import SMALL, Numbers, corpus
from tests.pico import BASE, pico_llama
from tests.stability.margins import at_least

torch.set_num_threads(1)
SIZES = {"inner": 24, "r": 24, "norm": "polar", "shift": 1, "start": "aligned"}
RECIPE = TrainGeneratorRecipe(**{**SMALL, **SIZES})


def rows(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 64, (count, 24), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def base():
    return pico_llama()


def fresh(base) -> Generator:
    return Generator(RECIPE.config_for(BASE, linear_shapes(base))).start(0, base_norms(base, config(base)))


def config(base):
    return RECIPE.config_for(BASE, linear_shapes(base))


@pytest.fixture(scope="module")
def aligned(base):
    generator = fresh(base)
    align(base, generator, [rows(40), rows(40, 1)], 0)
    return generator


def heard(base, ids):
    """(n [T, D], x [T, in]) of each layer, read by hooks of the test's own."""
    layers, modules = config(base).layers, config(base).modules
    seen, given = {}, {}
    with torch.no_grad(), reading(base, config(base), lambda number, h: seen.update({number: h})):
        hooks = [
            base.get_submodule(name).register_forward_pre_hook(lambda _, args, i=i: given.update({i: args[0]}))
            for i, name in enumerate(modules)
        ]
        base.base_model(input_ids=ids, use_cache=False)
        for hook in hooks:
            hook.remove()
    norms = base_norms(base, config(base))
    return [
        (rms_norm(seen[i][:, SINK:], norms[i]).flatten(0, 1), given[i][:, SINK:].flatten(0, 1))
        for i in range(len(layers))
    ]


def test_keys_have_equal_weight_and_queries_are_their_ridge_regression_on_what_the_layer_is_given(base, aligned):
    ids = torch.cat([rows(40), rows(40, 1)])
    for number, (n, x) in enumerate(heard(base, ids)):
        keys = n @ aligned.A2[number].T.detach()
        moments = keys.T @ keys / len(keys)
        assert torch.allclose(moments / moments.diagonal().mean(), torch.eye(24), atol=0.06)
        shrink = SHRINK * float(x.square().sum(1).mean()) / x.shape[1] * len(x)
        ridge = Ridge(alpha=shrink, fit_intercept=False).fit(x.double().numpy(), keys.double().numpy())
        wanted = torch.from_numpy(ridge.coef_).float()  # [R1, in]
        scale = aligned.A1[number].norm() / wanted.norm()
        assert torch.allclose(aligned.A1[number], wanted * scale, atol=2e-3), number


@pytest.mark.trained
def test_what_followed_a_token_is_likelier_at_the_first_step_under_the_text_s_own_adapter(base, aligned):
    """Without any training; a random start says the same under every adapter, for its B is zero."""
    base = pico_llama()
    texts = rows(12, 7)
    with torch.no_grad():
        directions = aligned.directions(layer_states(base, aligned, texts))

        def loss(order):
            given = directions[order]
            with adapting(base, aligned.config, lambda number, x: aligned.update(number, x, given[:, number])):
                return float(base(input_ids=texts, labels=texts).loss)

        own, other = loss(torch.arange(12)), loss(torch.arange(12).roll(1))
    at_least(other - own, 0.0, "nats that the text's own adapter gains")


def test_every_layer_gets_values_of_its_own_and_the_same_seed_the_same_bytes(base, aligned):
    again, other = fresh(base), fresh(base)
    align(base, again, [rows(40), rows(40, 1)], 0)
    align(base, other, [rows(40), rows(40, 1)], 1)
    assert again.digest() == aligned.digest() != other.digest()
    assert torch.equal(aligned.norm, fresh(base).norm)
    assert not torch.allclose(aligned.A3[0], aligned.A3[1], atol=0.01)


def test_a_training_that_begins_aligned_and_is_stopped_ends_with_the_same_bytes(tmp_path):
    def stop(fraction, message="", **_):
        if fraction >= 0.5:
            raise Cancelled

    def trained(work, progress=lambda *_, **__: None):
        data = corpus(8, 60)
        return train_generator(
            pico_llama(), Numbers(), RECIPE, data, base_model=BASE, work=tmp_path / work, progress=progress
        )

    whole = trained("whole")
    with pytest.raises(Cancelled):
        trained("cut", stop)
    assert trained("cut").digest() == whole.digest()


def test_aligned_pairs_a_token_with_the_next_so_it_needs_the_shift():
    with pytest.raises(RecipeError) as refused:
        TrainGeneratorRecipe(start="aligned")
    assert refused.value.field == "start" and "shift" in refused.value.message
