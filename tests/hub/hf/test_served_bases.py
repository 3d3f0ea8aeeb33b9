"""Bases that the hub serves, and those that it doesn't: what transformers and peft make of both."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from composition.running.base_models import module_shapes
from hub.models import BaseModel, Job
from hub.services import known_bases
from tests import pico
from tests.hub.hf import clients
from tests.hubctl.conftest import make_token

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path):
    """A whole model as transformers saves it: config, weights, tokenizer, generation config."""
    made = tmp_path / "model"
    pico.pico_llama(seed=3).save_pretrained(made)
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(64)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(made)
    return made


@pytest.fixture
def pushed(signed_in, hubctl, folder):
    """`Pico/Llama`, registered and pushed by `hubctl base push`."""
    done = hubctl("base", "push", folder, "Pico/Llama", "--license", "mit", "--json")
    assert done.code == 0, done.err
    return done.json


LOADED = """
import torch, urllib.request
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from peft import AutoPeftModelForCausalLM, PeftModel

ids = torch.arange(8)[None]

def load(name):
    tokens = AutoTokenizer.from_pretrained(name)("w1 w2").input_ids
    model = AutoModelForCausalLM.from_pretrained(name)
    return model, [AutoConfig.from_pretrained(name).model_type, tokens, model(ids).logits.sum().item()]

said = {}
for name in ("pico/LLAMA", "other/alias", "Other/Gone"):
    model, said[name] = load(name)
tuned = PeftModel.from_pretrained(model, "ada/dates")
said["peft"] = tuned(ids).logits.sum().item()
tuned.save_pretrained("out")
said["auto"] = AutoPeftModelForCausalLM.from_pretrained("ada/dates")(ids).logits.sum().item()

delete = urllib.request.Request(GIVEN["gone"], method="DELETE", headers={"Authorization": "Bearer " + GIVEN["token"]})
urllib.request.urlopen(delete)
model, said["cached"] = load("Other/Gone")
tuned = PeftModel.from_pretrained(model, "ada/dates")
said["peft on cached"] = tuned(ids).logits.sum().item()
tuned.save_pretrained("out of cached")
print(json.dumps(said))
"""


@pytest.fixture
def adapter(pushed, hubctl, tmp_path):
    """`ada/dates`, an adapter of the base that was pushed."""
    base = BaseModel.objects.get(name="Pico/Llama")
    shapes = module_shapes(base.config)
    known_bases.set_shapes(base=base, shapes=dict(shapes), fingerprint="f" * 64, parameters=1000)
    made = pico.write_adapter(tmp_path / "adapter", model=pico.pico_llama(seed=3), base_model="Pico/Llama")
    done = hubctl("push", made, "ada/dates")
    assert done.code == 0, done.err


@pytest.mark.slow
def test_transformers_and_peft_load_bases_that_the_hub_serves_and_those_in_their_cache(
    served, ada, adapter, hubctl, folder, tmp_path
):
    assert hubctl("base", "alias", "Pico/Llama", "--add", "other/alias").code == 0
    assert hubctl("base", "push", folder, "Other/Gone").code == 0
    Job.objects.update(state="failed")  # Nobody reads its shapes here, and a base that is being read can't go.
    home = tmp_path / "home"
    home.mkdir()
    gone = f"{served}/api/v1/bases/Other/Gone"
    said = clients.run(LOADED, endpoint=served, home=home, gone=gone, token=make_token(ada))
    with torch.no_grad():
        logits = pico.pico_llama(seed=3)(torch.arange(8)[None]).logits.sum().item()
    assert said["pico/LLAMA"] == ["llama", [1, 2], pytest.approx(logits)]
    assert said["pico/LLAMA"] == said["other/alias"] == said["Other/Gone"] == said["cached"]
    assert said["peft"] == said["auto"] == said["peft on cached"] != pytest.approx(logits)
    assert not BaseModel.objects.filter(name="Other/Gone").exists()
    assert all((home / name / "adapter_model.safetensors").is_file() for name in ("out", "out of cached"))
