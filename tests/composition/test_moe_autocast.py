"""Mixtures under autocast, as `bf16=True` gives it; which of equal logits wins; why MeteoRA's top-1 needs its loss."""

import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import get_peft_model
from torch import nn
from transformers import Trainer, TrainingArguments

from composition.moe import lora_moe_peft as moe
from tests import pico
from tests.composition.moe_layers import OUT, WIDTH, experts, inputs, layer, reference

FORMS = {"meteora": ["loop", "slice", "stack", "sorted", None], "smora": ["loop", "slice", "stack", None]}
CASES = [(kind, form) for kind, forms in FORMS.items() for form in forms]


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("tokens", [1, 80])
@pytest.mark.parametrize(("kind", "form"), CASES)
def test_every_formulation_runs_under_autocast(kind, form, tokens, guard):
    mixture, x = layer(kind), inputs(tokens, WIDTH)
    mixture.form = form
    with guard(), autocast():
        found = mixture(x)
        base = mixture.base_layer(x)
    assert found.dtype == base.dtype == torch.bfloat16
    with torch.no_grad():
        wanted = reference(mixture, x)
        assert (found.float() - wanted).norm() < 0.02 * wanted.norm()
        assert (base.float() - wanted).norm() > 0.5 * wanted.norm()


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("shared", [False, True])
def test_the_router_keeps_its_own_precision_under_autocast(kind, shared):
    """In bfloat16 one token in eight would have equal scores at SMoRA's border, and rounding its ranks."""
    mixture, x = layer(kind, ranks=(16, 16, 16)), inputs(200, WIDTH)
    if shared:
        mixture.group = moe.RouterGroup([mixture, layer(kind, ranks=(16, 16, 16), seed=1)])
        mixture.share_from = 1
    with torch.no_grad():
        mixture(x)
        with moe.record_routing(mixture, logits=True) as routing:
            mixture(x)
            with autocast():
                mixture(x)
    plain, cast = routing.logits("").split(200)
    assert plain.equal(cast) and routing.experts("")[:200].equal(routing.experts("")[200:])


@pytest.mark.parametrize("kind", FORMS)
def test_gradients_under_autocast_are_those_without_but_for_its_rounding(kind):
    found = []
    for enabled in (True, False):
        mixture = layer(kind)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            (mixture(inputs(17, WIDTH)) * inputs(17, OUT, seed=5)).sum().backward()
        found.append([part["default"].grad for part in (mixture.A, mixture.B, mixture.gate)])
    for cast, plain in zip(*found, strict=True):
        assert (cast - plain).norm() < 0.03 * plain.norm()


@pytest.mark.parametrize("kind", FORMS)
def test_the_trainer_evaluates_and_trains_with_bf16(kind, tmp_path):
    config = {"meteora": moe.MeteoraConfig, "smora": moe.SmoraConfig}[kind]
    targets = [name for name, _ in pico.pico_llama().named_modules() if name.endswith(("q_proj", "v_proj"))]
    rows = [{"input_ids": row, "labels": row} for row in pico.tokens(batch=4, length=30)]
    losses, seen = [], []
    for bf16 in (False, True):
        model = get_peft_model(
            pico.pico_llama(), config(experts=experts(), target_modules=targets, task_type="CAUSAL_LM")
        )
        for name, parameter in model.named_parameters():
            if f"{kind}_" in name:
                parameter.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
        model.get_base_model().lm_head.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
        AcceleratorState._reset_state(reset_partial_state=True)  # it keeps the first precision it was given
        options = TrainingArguments(
            str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True, max_steps=2, save_strategy="no", bf16=bf16
        )
        trainer = Trainer(model=model, args=options, train_dataset=rows, eval_dataset=rows)
        losses.append(trainer.evaluate()["eval_loss"])
    assert seen == [torch.float32, torch.bfloat16] and losses[1] == pytest.approx(losses[0], rel=0.02)
    gates = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    trainer.train()
    AcceleratorState._reset_state(reset_partial_state=True)
    assert gates and all(not p.equal(gates[name]) for name, p in model.named_parameters() if name in gates)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_of_equal_scores_the_first_is_the_larger(data):
    """For one token and for many, few rows and a long one: both ways of choosing."""
    rows = data.draw(st.sampled_from([2, 5, 16, 17, 40]))
    tokens = data.draw(st.sampled_from([1, 3, 300]))
    k = data.draw(st.integers(1, rows))
    numbers = torch.tensor([-1.5, -0.0, 0.0, 2.0, 1e-30, -1e30, torch.inf, -torch.inf])
    picked = torch.randint(8, (tokens, rows), generator=torch.Generator().manual_seed(data.draw(st.integers(0, 999))))
    scores = numbers[picked].requires_grad_()
    values, places = moe.largest(scores, k)
    for row, found in zip(scores.tolist(), places.tolist(), strict=True):
        assert found == sorted(range(rows), key=lambda i: -row[i])[:k]
    assert values.equal(scores.gather(-1, places)) and values.requires_grad


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_decode_and_prefill_choose_alike_where_logits_are_equal(kind, form):
    """A router of zeros: the token alone, and among others, takes the first experts (ranks)."""
    more = {"activate_r": 5} if kind == "smora" else {"top_k": 2}
    mixture, x = layer(kind, ranks=(4, 4, 4, 4, 4), **more), inputs(700, WIDTH)
    mixture.form = form
    mixture.gate["default"].data.zero_()
    if kind == "smora":
        mixture.smora_bias["default"].zero_()
    with torch.no_grad():
        prefill, decode = mixture(x), torch.cat([mixture(token[None]) for token in x[:9]])
        torch.testing.assert_close(decode, prefill[:9], rtol=1e-5, atol=1e-5)
        with moe.record_routing(mixture) as routing:
            mixture(x)
        chosen = routing.experts("")
    assert chosen.equal(torch.arange(chosen.shape[1]).expand_as(chosen))
    if kind == "meteora":
        assert mixture.few(torch.zeros(2, 5), "default")[0] == [[0, 1], [0, 1]]


def language_only(mixture):
    return nn.functional.cross_entropy(mixture(inputs(6, WIDTH)), torch.arange(6))


def test_training_top_1_on_the_language_loss_alone_says_why_it_can_not():
    router, whole = layer(top_k=1), layer(top_k=1)
    router.A.requires_grad_(False), router.B.requires_grad_(False)
    with pytest.raises(RuntimeError, match="Add the gate loss"):
        language_only(router).backward()
    with pytest.warns(UserWarning, match="no gradient"):
        language_only(whole).backward()
    assert whole.A["default"].grad is not None and whole.gate["default"].grad is None
    language_only(layer(top_k=2)).backward()
    x = inputs(6, WIDTH).requires_grad_()
    with pytest.warns(UserWarning, match="no gradient"):
        router(x).sum().backward()
    assert x.grad.abs().max() > 0, "who asks for another gradient gets it"


@pytest.mark.parametrize("by", ["record_routing", "router_logits"])
def test_with_the_gate_loss_top_1_trains(by, recwarn):
    mixture, labels = layer(top_k=1), torch.ones(6).long()
    mixture.A.requires_grad_(False), mixture.B.requires_grad_(False)
    if by == "record_routing":
        with moe.record_routing(mixture, logits=True) as routing:
            loss = language_only(mixture)
            loss = loss + nn.functional.cross_entropy(routing.logits(""), labels)
    else:
        loss = language_only(mixture) + nn.functional.cross_entropy(mixture.router_logits(inputs(6, WIDTH)), labels)
    loss.backward()
    assert mixture.gate["default"].grad.abs().max() > 0 and not recwarn.list
