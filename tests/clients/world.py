"""The hub that the clients find: three people, an organisation, two bases. As a program it makes one in HUB_DATA.

`python -m tests.clients.world` prints {person: token} as JSON.
"""

import json

from tests.clients.journeys.folders import WIDE

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
"""`tests.pico.pico_llama`."""
LAYERS = {"pico/llama": 2, "pico/wide": 9}
WIDE_LLAMA = LLAMA | {"hidden_size": WIDE, "num_hidden_layers": 9, "num_key_value_heads": 4}
SCOPES = ["read", "write", "admin"]


def shapes(config: dict) -> dict[str, list[int]]:
    """Weight name → [out, in] of a Llama of this config."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    keys = width * config["num_key_value_heads"] // config["num_attention_heads"]
    linears = {"q_proj": [width, width], "k_proj": [keys, width], "v_proj": [keys, width], "o_proj": [width, width]}
    parts = {f"self_attn.{name}": shape for name, shape in linears.items()}
    parts |= {"mlp.gate_proj": [inner, width], "mlp.up_proj": [inner, width], "mlp.down_proj": [width, inner]}
    made = {"model.embed_tokens": [config["vocab_size"], width], "lm_head": [config["vocab_size"], width]}
    for layer in range(config["num_hidden_layers"]):
        made |= {f"model.layers.{layer}.{name}": shape for name, shape in parts.items()}
    return made


def make_world() -> dict[str, str]:
    """Person → token of every scope: ada, who owns the organisation `lab`, and bob and you, members of nothing."""
    from hub.models import BaseModel
    from hub.services import known_bases, tokens
    from tests.hub import factories

    for name, config in (("pico/llama", LLAMA), ("pico/wide", WIDE_LLAMA)):
        base = BaseModel.objects.create(name=name, config=config)
        known_bases.set_shapes(base=base, shapes=shapes(config), fingerprint=name.encode().hex()[:64], parameters=1)
    people = {name: factories.make_user(name) for name in ("ada", "bob", "you")}
    factories.make_organisation("lab", admin=people["ada"])
    return {name: tokens.create_token(actor=user, name="t", scopes=SCOPES)[1] for name, user in people.items()}


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(make_world()))
