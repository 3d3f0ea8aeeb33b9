"""A toy task that pico models learn in a second: where an animal lives, told from a sentence of three words.

The tokenizer is a real one, of some eighty pieces that keep their spaces and line breaks. `base(seed)` is a two-layer
llama that has read numbered lists, so that it can go on with one; `adapter` is a LoRA on it that knows the answers.
"""

import random
from functools import lru_cache
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from transfer.adapters import save_adapter
from transfer.numbered_list import frame_of, list_prompt

COLOURS = ["red", "blue", "green", "black", "white", "pink", "grey", "brown"]
ANIMALS = {"cat": "home", "dog": "home", "hen": "home", "lion": "wild", "wolf": "wild", "bear": "wild"}
REAL = 4
VERBS = ["sings", "runs", "eats", "sleeps", "jumps", "hides"]
NOISE = ["Is", "above", "question", "from", "dataset", "toy", "the", "Here", "are", "examples", "yes", "no"]
CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
WARM_UP = 20
NAMES = {"source": "toy/source@1", "target": "toy/target@1"}


def tokenizer(chat: bool = False) -> PreTrainedTokenizerFast:
    """Pieces with the space before them; numbers, points and line breaks are pieces of their own."""
    words = [*COLOURS, *ANIMALS, *VERBS, *NOISE, "home", "wild"]
    pieces = ["<pad>", "<s>", "</s>", "<unk>", "<user>", "<assistant>", "\n", ".", ":", "?", " "]
    pieces += [*words, *(f" {word}" for word in words), *map(str, range(13)), *(f" {n}" for n in range(13))]
    made = Tokenizer(models.WordLevel({piece: n for n, piece in enumerate(pieces)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[A-Za-z]+| ?[0-9]+|\n|."), behavior="isolated")
    made.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>"],
    )
    fast.chat_template = CHAT if chat else None
    return fast


def inputs(count: int, seed: int = 0, colours: int = REAL) -> list[str]:
    """Distinct sentences; real ones have the first colours alone, those of the bases' lists all of them."""
    every = [f"{c} {a} {v}" for c in COLOURS[:colours] for a in ANIMALS for v in VERBS]
    return random.Random(seed).sample(every, count)


def rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    return [{"prompt": text, "completion": ANIMALS[text.split()[1]]} for text in inputs(count, seed)]


def train(model, texts: list[list[str]], steps: int, rate: float, seed: int = 0) -> None:
    """Texts of pieces that are tokenised apart; the last piece and its end are learnt, by what asks for a gradient.

    Warm-up, a linear fall to zero and clipped gradients: without them the last bit of a sum decides what is learnt.
    """
    read = tokenizer()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate)
    rng = random.Random(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARM_UP) * (1 - step / steps)
        picked = rng.sample(texts, min(16, len(texts)))
        ids = [[*(i for piece in text for i in read(piece)["input_ids"]), 2] for text in picked]
        width = max(map(len, ids))
        padded = torch.tensor([row + [0] * (width - len(row)) for row in ids])
        labels = padded.masked_fill(padded == 0, -100)
        for row, text in zip(labels, picked, strict=True):
            row[: sum(len(read(piece)["input_ids"]) for piece in text[:-1])] = -100
        model(padded, attention_mask=(padded != 0).long(), labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()


@lru_cache
def _weights(seed: int, steps: int) -> dict[str, torch.Tensor]:
    model = blank(seed)
    rng = random.Random(seed)
    lists = []
    for n in range(200):
        some = inputs(8, 1000 + n, len(COLOURS))
        lists.append([list_prompt(some, frame_of([])).rsplit("\n", 1)[0]])
        lists.append([some[0], rng.choice(["home", "wild", " yes", " no"])])
    train(model, lists, steps, 1e-2)
    return model.state_dict()


def blank(seed: int = 0, **changes) -> LlamaForCausalLM:
    """Larger first weights than the usual 0.02, which suits wide models: here no word would ever get p above 0.4."""
    torch.manual_seed(seed)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4} | changes
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer()),
            num_key_value_heads=2,
            max_position_embeddings=256,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            initializer_range=0.05,
            **size,
        )
    ).eval()


def base(seed: int = 0, steps: int = 160) -> LlamaForCausalLM:
    """A base that continues a numbered list; the same every time."""
    model = blank(seed)
    model.load_state_dict(_weights(seed, steps))
    return model


def adapter(folder: Path, seed: int = 0, steps: int = 150) -> Path:
    """A LoRA on `base(seed)` that answers home or wild."""
    torch.manual_seed(seed)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base(seed), config)
    train(model, [[row["prompt"], row["completion"]] for row in rows(140, 7)], steps, 5e-3)
    save_adapter(model, folder, NAMES["source"])
    return folder


def loader(seed: int = 0, chat: bool = False, calls: list | None = None):
    """A loader of `base(seed)`, a fresh copy a call, that notes its calls."""

    def load():
        if calls is not None:
            calls.append(seed)
        return base(seed), tokenizer(chat)

    return load


SYNTHESIS = {"task": "toy", "max_new_tokens": 8, "similarity": 1.0, "temperature": 1.0, "synthesis_batch": 16}
DISCRIMINATOR = {**SYNTHESIS, "epochs": 4, "learning_rate": 1e-2, "target_modules": "all-linear"}
"""With `inputs(120)` as real rows: fewer rows read more often are learnt by heart, and others are then refused."""
TRANSFER = {
    **SYNTHESIS,
    **{"samples": 24, "epochs": 2, "learning_rate": 5e-3, "answer_tokens": 3, "rank": 4, "labelling_batch": 8},
}
