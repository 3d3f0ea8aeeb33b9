"""The snippets of a page, one after another, as their reader would run them.

`GIVEN["blocks"]` are [heading, language, text]. The reader has an adapter in `dates/`, which every snippet loads that
loads one, and the base `pico/llama` in the cache of their machine, loaded once from wherever it is.
"""

import os
import subprocess
import sys
from pathlib import Path

import torch
from huggingface_hub import constants
from peft import PeftModel

from tests.clients.journeys import folders
from tests.clients.journeys.calls import GIVEN, NotInThisClient, call, run
from tests.pico import pico_llama

IDS = torch.arange(8)[None]
ELSEWHERE = GIVEN["url"] + "/nowhere"


def fill_cache():
    """The base as huggingface_hub keeps what it has loaded."""
    kept, commit = Path(constants.HF_HUB_CACHE, "models--pico--llama"), 40 * "a"
    pico_llama().save_pretrained(kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)


def shell(text):
    """Run it in bash, with this environment's commands; HF_ENDPOINT stays as the page sets it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), GIVEN["commands"], os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", text], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]


def python(text, scoped):
    """Run it; with `scoped` all that it doesn't send to this hub by name goes nowhere."""
    names = {"__name__": "snippet"}
    before = constants.ENDPOINT, constants.HUGGINGFACE_CO_URL_TEMPLATE
    if scoped:
        template = before[1].replace(before[0], ELSEWHERE)
        constants.ENDPOINT, constants.HUGGINGFACE_CO_URL_TEMPLATE = ELSEWHERE, template
    try:
        exec(compile(text, "snippet", "exec"), names)
    except ModuleNotFoundError as error:
        raise NotInThisClient(str(error)) from error
    finally:
        constants.ENDPOINT, constants.HUGGINGFACE_CO_URL_TEMPLATE = before
    if "model" in names and "get_peft_model" not in text:
        expected = PeftModel.from_pretrained(pico_llama(), "dates").eval()(IDS).logits
        assert torch.allclose(names["model"].eval()(IDS).logits, expected, atol=1e-6)


def registered(number, heading, language, text):
    @call(f"{number} {heading}")
    def snippet():
        if language == "sh":
            shell(text)
        else:
            python(text, scoped="scoped" in language)


if __name__ == "__main__":
    folders.adapter("dates", seed=3)
    fill_cache()
    for number, (heading, language, text) in enumerate(GIVEN["blocks"], 1):
        registered(number, heading, language, text)
    run()
