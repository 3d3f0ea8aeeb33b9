"""The mixture layers against the formulas, PEFT's own LoRA, and each other; what a shared router may never do."""

import copy
import pickle

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from composition.moe import lora_moe_peft as moe
from tests.composition.moe_layers import OUT, RANKS, WIDTH, experts, inputs, layer, reference, route_to

FORMS = {"meteora": ["loop", "slice", "stack", "sorted", None], "smora": ["loop", "slice", "stack", None]}
CASES = [(kind, form) for kind, forms in FORMS.items() for form in forms]
SETTINGS = {
    "meteora": [{}, {"top_k": 1}, {"top_k": 3, "router_temperature": 15.0}],
    "smora": [{"activate_r": 4}, {"activate_r": 1, "bias_in_gate": False}, {"activate_r": 99}, {"rank_partition": 2}],
}


@pytest.mark.parametrize("shape", [(1, WIDTH), (2, 9, WIDTH), (80, WIDTH), (WIDTH,)], ids=str)
@pytest.mark.parametrize(("kind", "form"), CASES)
def test_every_formulation_says_what_the_formulas_say(kind, form, shape):
    for settings in SETTINGS[kind]:
        mixture, x = layer(kind, **settings), inputs(*shape)
        mixture.form = form
        with torch.no_grad():
            torch.testing.assert_close(mixture(x), reference(mixture, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("form", ["loop", "stack", "sorted", "slice", None])
def test_gradients_are_those_of_the_formulas(kind, form):
    if (kind, form) == ("smora", "sorted"):
        pytest.skip("SMoRA routes ranks; there are no experts to sort by")
    x = inputs(17, WIDTH).requires_grad_()
    found = []
    for run in (lambda m: m(x), lambda m: reference(m, x)):
        mixture = layer(kind, top_k=2) if kind == "meteora" else layer(kind, activate_r=4)
        mixture.form = form
        (run(mixture) * inputs(17, OUT, seed=5)).sum().backward()
        found.append([*[part["default"].grad for part in (mixture.A, mixture.B, mixture.gate)], x.grad])
        x.grad = None
    for ours, theirs in zip(*found, strict=True):
        assert theirs.abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_top_1_gives_the_gate_no_gradient():
    mixture = layer(top_k=1)
    with pytest.warns(UserWarning, match="no gradient"):
        mixture(inputs(5, WIDTH)).sum().backward()
    assert mixture.gate["default"].grad is None


@pytest.mark.parametrize("kind", ["meteora", "smora"])
@pytest.mark.parametrize("form", ["stack", "slice"])
def test_absolute_logits_do_not_see_a_gates_sign(kind, form):
    plain, turned = layer(kind, router_abs=True), layer(kind, router_abs=True)
    with torch.no_grad():
        turned.gate["default"].mul_(-1)
        x = inputs(7, WIDTH)
        for mixture in (plain, turned):
            mixture.form = form
        assert plain.router_logits(x).min() >= 0
        torch.testing.assert_close(plain(x), turned(x))
        assert not torch.allclose(plain(x), layer(kind)(x))


def peft_layer(mixture: moe.MoELinear, expert: int) -> nn.Module:
    """PEFT's LoRA of one expert on the same base."""
    blocks = mixture.blocks["default"]
    model = nn.ModuleDict({"q_proj": mixture.base_layer})
    config = LoraConfig(r=blocks.ranks[expert], lora_alpha=blocks.scales[expert] * blocks.ranks[expert])
    config.target_modules = {"q_proj"}
    lora = get_peft_model(model, config).base_model.model["q_proj"]
    here = slice(blocks.offsets[expert], blocks.offsets[expert] + blocks.ranks[expert])
    lora.lora_A["default"].weight.data.copy_(mixture.A["default"].data[here])
    lora.lora_B["default"].weight.data.copy_(mixture.B["default"].data[:, here])
    return lora


@pytest.mark.parametrize("tokens", [1, 7, 100])
@pytest.mark.parametrize("expert", range(len(RANKS)))
@pytest.mark.parametrize("top_k", [1, 2])
def test_a_one_hot_gate_is_that_lora(expert, tokens, top_k):
    mixture, x = layer(top_k=top_k), inputs(tokens, WIDTH)
    x[:, 0] = 1
    route_to(mixture, expert)
    lora = peft_layer(mixture, expert)
    with torch.no_grad():
        expected = lora(x)
        for form in FORMS["meteora"]:
            mixture.form = form
            difference = (mixture(x) - expected).abs().max()
            assert difference == 0 if form == "loop" else difference <= 1e-5


@pytest.mark.parametrize("bias_in_gate", [True, False])
@pytest.mark.parametrize("form", FORMS["smora"])
def test_a_block_constant_smora_gate_is_that_lora(form, bias_in_gate):
    mixture = layer("smora", activate_r=RANKS[1], bias_in_gate=bias_in_gate)
    mixture.smora_bias["default"].zero_()
    gate = mixture.gate["default"].data.zero_()
    x = inputs(9, WIDTH)
    x[:, 0] = 1
    gate[:, 0], gate[4:12, 0] = -40, 0
    mixture.form = form
    with torch.no_grad():
        torch.testing.assert_close(mixture(x), peft_layer(mixture, 1)(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "form"), CASES)
def test_an_expert_of_rank_0_adds_nothing(kind, form):
    mixture, x = layer(kind, ranks=(4, 0, 2), seed=3), inputs(30, WIDTH)
    mixture.form = form
    with torch.no_grad():
        torch.testing.assert_close(mixture(x), reference(mixture, x), rtol=1e-5, atol=1e-5)


def test_a_layer_no_expert_touches_is_the_base():
    mixture, x = layer(ranks=(0, 0)), inputs(3, WIDTH)
    assert torch.equal(mixture(x), mixture.base_layer(x))


@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("expert", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kind", "form"), CASES)
def test_unlike_dtypes_compute_in_the_wider_one(kind, form, base, expert):
    mixture = layer(kind).to(expert)
    mixture.base_layer.to(base)
    x = inputs(5, WIDTH).to(base)
    mixture.form = "loop"
    with torch.no_grad():
        expected = mixture(x)
        mixture.form = form
        assert mixture(x).dtype == base
        torch.testing.assert_close(mixture(x), expected, rtol=0.05, atol=0.1)


def test_the_bases_own_output_is_never_overwritten():
    class Remembering(nn.Linear):
        def forward(self, x):
            self.seen = super().forward(x)
            return self.seen

    mixture, x = layer(), inputs(3, WIDTH)
    base = mixture.base_layer
    mixture.base_layer = Remembering(WIDTH, OUT)
    mixture.base_layer.load_state_dict(base.state_dict())
    with torch.no_grad():
        mixture(x)
        assert torch.equal(mixture.base_layer.seen, base(x))
        mixture.base_layer = base
        kept = []
        base.register_forward_hook(lambda module, args, output: kept.append(output))
        mixture(x)
        assert torch.equal(kept[0], nn.functional.linear(x, base.weight, base.bias))


class Attention(nn.Module):
    """Three projections of one input, as a group."""

    def __init__(self, kind: str = "meteora", **settings):
        super().__init__()
        for seed, name in enumerate(("q_proj", "k_proj", "v_proj")):
            setattr(self, name, layer(kind, seed=seed, out=OUT + seed, **settings))
            getattr(self, name).share_from = 1
        moe._share_router(self, "v_proj")

    def forward(self, x):
        return [self.q_proj(x), self.k_proj(x), self.v_proj(x)]

    def expected(self, x):
        return [reference(self.q_proj, x), reference(self.k_proj, x), reference(self.v_proj, x)]


def agree(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", FORMS)
def test_one_product_serves_the_routers_of_layers_that_share_their_input(kind, monkeypatch):
    attention, calls, plain = Attention(kind), [], moe._router
    monkeypatch.setattr(moe, "_router", lambda x, gate: calls.append(len(gate)) or plain(x, gate))
    rows = sum(len(m.gate["default"]) for m in (attention.q_proj, attention.k_proj, attention.v_proj))
    with torch.no_grad():
        for tokens in (1, 7):
            x = inputs(2, tokens, WIDTH)
            agree(attention(x), attention.expected(x))
    assert calls == [rows, rows]


@pytest.mark.parametrize("kind", FORMS)
def test_a_shared_router_is_never_stale(kind):
    attention, x = Attention(kind), inputs(4, WIDTH)
    with torch.no_grad():
        attention.q_proj(x)
        x.mul_(-2)
        agree(attention(x), attention.expected(x))
        attention.q_proj(x)
        attention.k_proj.gate["default"].neg_()
        agree(attention(x), attention.expected(x))
        attention.v_proj.gate["default"].data.neg_()
        agree(attention(x), attention.expected(x))
        attention.q_proj(x)
        y = inputs(4, WIDTH, seed=9)
        agree([attention.k_proj(y), attention.k_proj(y), attention.v_proj(x)], [
            reference(attention.k_proj, y), reference(attention.k_proj, y), reference(attention.v_proj, x)
        ])  # fmt: skip
    with torch.inference_mode():
        agree(attention(x), attention.expected(x))
        agree(attention(x * 1), attention.expected(x))
    attention(x)[1].sum().backward()
    assert attention.k_proj.gate["default"].grad.abs().max() > 0 and attention.q_proj.gate["default"].grad is None
    with torch.no_grad():
        attention.k_proj.gate["default"].sub_(0.01 * attention.k_proj.gate["default"].grad)
        agree(attention(x), attention.expected(x))


def test_a_shared_router_survives_copies_casts_and_pickles():
    attention, x = Attention(), inputs(4, WIDTH)
    with torch.no_grad():
        expected = attention(x)
        twin = copy.deepcopy(attention)
        agree(twin(x), expected)
        twin.q_proj.gate["default"].neg_()
        agree(attention(x), expected)
        agree(twin(x), twin.expected(x))
        assert twin.q_proj.group.members[0] is twin.q_proj
        agree(pickle.loads(pickle.dumps(attention))(x), expected)
        attention.double().float()
        agree(attention(x), expected)


def test_record_routing_tells_where_tokens_went():
    attention, x = Attention(), inputs(3, 5, WIDTH)
    with torch.no_grad(), moe.record_routing(attention, logits=True) as routing:
        attention(x)
        attention(x[:1])
        chosen, weights = attention.k_proj.route(attention.k_proj.router_logits(x), "default")
        assert set(routing) == {"q_proj", "k_proj", "v_proj"}
        assert torch.equal(routing.experts("k_proj"), torch.cat([chosen, chosen[:5]]))
        torch.testing.assert_close(routing.weights("k_proj")[:15], weights)
        assert routing.logits("k_proj").shape == (20, len(RANKS))
        assert attention.q_proj.last_experts.shape == (5, 2)
        routing.clear()
        attention(x)
        assert len(routing.experts("q_proj")) == 15
    assert attention.q_proj.last_logits is None and attention.q_proj.routing is None


def test_recorded_logits_carry_gradients_for_the_gate_loss():
    attention, x = Attention(top_k=1), inputs(6, WIDTH)
    with moe.record_routing(attention) as routing:
        attention(x)
        loss = sum(nn.functional.cross_entropy(m.last_logits, torch.ones(6).long()) for m in routing.values())
    loss.backward()
    assert attention.v_proj.gate["default"].grad.abs().max() > 0


def test_the_loss_free_bias_moves_towards_balance():
    mixture = layer("smora", activate_r=2)
    mixture.smora_bias["default"].zero_()
    ranks = torch.tensor([[0, 1], [0, 2], [0, 1]])
    mixture.update_bias(ranks, rate=0.5)
    assert mixture.smora_bias["default"].tolist() == [-0.5, -0.5, -0.5] + [0.5] * 11


@pytest.mark.parametrize(
    ("config", "settings", "words"),
    [
        (moe.MeteoraConfig, {}, "experts"),
        (moe.MeteoraConfig, {"experts": experts(), "top_k": 4}, "top_k is 4; expected 1 to 3"),
        (moe.MeteoraConfig, {"experts": experts(), "router_temperature": 0}, "more than 0"),
        (moe.MeteoraConfig, {"experts": experts(), "rank_pattern": {"q": [1, 2]}}, "2 entries for 3 experts"),
        (moe.MeteoraConfig, {"experts": experts(), "modules_to_save": ["lm_head"]}, "modules_to_save"),
        (moe.MeteoraConfig, {"experts": experts(), "format_version": 2}, "loader knows 1"),
        (moe.SmoraConfig, {"experts": experts(), "activate_r": 0}, "activate_r is 0"),
        (moe.SmoraConfig, {"experts": experts(), "trained": "not"}, "expected one of prototype"),
    ],
)
def test_a_wrong_config_is_refused_in_words(config, settings, words):
    with pytest.raises(ValueError, match=words):
        config(**settings)


def test_scales_come_from_the_pattern_the_expert_or_the_modules_rank():
    named = [{"name": "a", "r": 4, "lora_alpha": 8}, {"name": "b", "r": 4, "lora_alpha": 8, "use_rslora": True}]
    config = moe.MeteoraConfig(
        experts=[*named, {"name": "c", "r": 2, "lora_alpha": 1, "scale": 7}],
        rank_pattern={"layers.0.q": [2, 16, 0]},
        scale_pattern={"layers.1.q": [1, 2, 3]},
    )
    assert config.scales("layers.9.q") == [2.0, 4.0, 7.0]
    assert config.scales("layers.0.q") == [4.0, 2.0, 7.0]
    assert config.scales("model.layers.1.q") == [1.0, 2.0, 3.0]


def test_a_partition_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="does not divide the 14 ranks"):
        layer("smora", rank_partition=4)


@pytest.mark.parametrize("kind", FORMS)
def test_torch_compile_takes_a_layer_whole(kind):
    mixture, x = layer(kind), inputs(5, WIDTH)
    compiled = torch.compile(mixture, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), mixture(x), rtol=1e-5, atol=1e-5)
    compiled(x).sum().backward()
    assert mixture.gate["default"].grad.abs().max() > 0


def test_recordings_nest():
    mixture, x = layer(), inputs(2, WIDTH)
    with torch.no_grad(), moe.record_routing(mixture) as outer:
        mixture(x)
        with moe.record_routing(mixture) as inner:
            mixture(x)
        mixture(x)
        assert len(outer.experts("")) == 4 and len(inner.experts("")) == 2
