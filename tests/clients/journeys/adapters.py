"""peft, transformers and its Trainer: adapters of the pico base, pushed and pulled, and what they answer."""

from pathlib import Path

import torch
from huggingface_hub import HfApi
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from transformers import Trainer, TrainingArguments

from tests.clients.journeys.calls import GIVEN, call, run
from tests.pico import pico_llama

REPO = f"ada/{GIVEN['name']}-tuned"
IDS = torch.arange(8)[None]
WHERE = Path("base")
api = HfApi()
logits = {}


def base():
    """The pico base, as if it had been loaded by its id."""
    model = pico_llama()
    model.name_or_path = model.config._name_or_path = "pico/llama"
    return model


def tuned(seed):
    """The base with a LoRA whose B is not zero."""
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base(), config)
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def answer(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


@call("peft: `push_to_hub`")
def push():
    for seed, version in ((1, "v1"), (2, "v2")):
        model = tuned(seed)
        logits[version] = answer(model)
        model.push_to_hub(REPO)
    assert {"v1", "v2"} <= {row.name for row in api.list_repo_refs(REPO).tags}
    assert (logits["v1"] - logits["v2"]).abs().max() > 0.01


@call("peft: `PeftModel.from_pretrained` by tag")
def pull():
    for version, expected in logits.items():
        assert torch.equal(answer(PeftModel.from_pretrained(base(), REPO, revision=version)), expected)
    assert torch.equal(answer(PeftModel.from_pretrained(base(), REPO)), logits["v2"])


@call("peft: `push_to_hub(revision=…)`, a branch")
def push_branch():
    model = tuned(3)
    model.push_to_hub(REPO, revision="tries")
    assert torch.equal(answer(PeftModel.from_pretrained(base(), REPO, revision="tries")), answer(model))
    assert torch.equal(answer(PeftModel.from_pretrained(base(), REPO)), logits["v2"])


@call("transformers: `load_adapter`")
def load_adapter():
    model = base()
    model.load_adapter(REPO, adapter_kwargs={"revision": "v1"})
    assert torch.allclose(answer(model), logits["v1"], atol=1e-6)


@call("transformers: `Trainer(push_to_hub=True)` with peft")
def trainer():
    def collate(rows):
        ids = torch.stack([torch.tensor(row["input_ids"]) for row in rows])
        return {"input_ids": ids, "labels": ids}

    rows = [{"input_ids": [n % 60 + 3] * 8} for n in range(8)]
    fields = {"output_dir": "run", "max_steps": 2, "per_device_train_batch_size": 4, "report_to": [], "save_steps": 1}
    fields |= {"push_to_hub": True, "hub_model_id": f"{REPO}-trained", "hub_strategy": "every_save", "use_cpu": True}
    trained = Trainer(model=tuned(4), args=TrainingArguments(**fields), train_dataset=rows, data_collator=collate)
    trained.train()
    trained.push_to_hub()
    back = PeftModel.from_pretrained(base(), f"{REPO}-trained")
    assert torch.allclose(answer(back), answer(trained.model), atol=1e-6)
    files = api.list_repo_files(f"{REPO}-trained")
    assert "training_args.bin" not in files and "README.md" in files, files


@call("peft: `AutoPeftModelForCausalLM`, the base from a folder")
def auto():
    pico_llama().save_pretrained(WHERE)
    model = PeftModel.from_pretrained(base(), REPO, revision="v1")
    model.peft_config["default"].base_model_name_or_path = str(WHERE)
    model.save_pretrained("tuned")
    assert torch.equal(answer(AutoPeftModelForCausalLM.from_pretrained("tuned")), logits["v1"])


if __name__ == "__main__":
    run()
