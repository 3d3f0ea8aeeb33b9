"""What to paste: an adapter in PEFT, with our client, by curl, and served by vLLM; a mixture also taken apart."""

import shlex
import textwrap
from collections.abc import Mapping, Sequence

from composition.facts import AdapterFacts
from composition.formats.gguf.lora import GGUF_FILE
from composition.formats.gguf.names import ARCHITECTURES
from composition.formats.mixture.parts import CAT_WARNING, arrow_snippet
from composition.formats.peft.types import MIXTURES
from composition.formats.table import Format
from hub.models import Repository, Version

# The ranks vLLM accepts for --max-lora-rank.
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)

COMMANDS = {
    "vllm": "vllm serve {base} --enable-lora --max-lora-rank {rank} \\\n  --lora-modules {name}=./{folder}",
    "vllm-0.31": "vllm serve {base} --enable-lora --max-lora-rank {rank} \\\n  --lora-modules {name}=./{folder}",
    "sglang": "python -m sglang.launch_server --model-path {base} \\\n  --enable-lora --lora-paths {name}=./{folder}",
    "llama.cpp": "python convert_lora_to_gguf.py {folder} --base-model-id {base} --outfile {name}.gguf\n"
    "llama-server -m base.gguf --lora {name}.gguf",
    "lorax": "text-generation-launcher --model-id {base} --lora-adapters {name}=./{folder}",
}
"""Server → the command that serves `folder`; they are their projects' own, of November 2026."""
BY_ID = {
    "vllm": "vllm serve {base} --enable-lora --max-lora-rank {rank} \\\n  --lora-modules {name}={id}",
    "lorax": "text-generation-launcher --model-id {base} --lora-adapters {name}={id}",
}
"""Server → the command with a repository's id, for those that fetch one by it, but no revision of it."""
GGUF = {"llama.cpp": f"llama-server -m base.gguf --lora {{folder}}/{GGUF_FILE}"}
"""The same for servers that are given a GGUF file, where the base's architecture is known to us."""


def of_adapter(
    site: str,
    repository: Repository,
    version: Version,
    facts: AdapterFacts,
    row: Format,
    experts: Sequence[dict] = (),
    servers: Sequence[dict] = (),
) -> list[dict[str, str]]:
    """[{"label", "code" or "note"}] for one version of the format `row`.

    `site` is the hub's own address, `experts` are a mixture's, `servers` are `queries.servers`' rows.
    """
    base = version.base.name if version.base else facts.base_model_name or "org/base"
    folder = f"{repository.name}-{version.label}"
    name = str(version)
    pull = f"hubctl pull {name} -o {folder}"
    peft = (
        f"{_loader(folder, facts)}from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'base = AutoModelForCausalLM.from_pretrained("{base}")  # its id, or its folder\n'
        f'model = PeftModel.from_pretrained(base, "{folder}")'
    )
    url = f"{site}/api/v1/repositories/{repository.path}/files/{version.label}"
    curl = (
        f"for f in {' '.join(row.files)}; do\n"
        '  curl -fsSL -H "Authorization: Bearer $HUB_TOKEN" \\\n'
        f'    --create-dirs -o "{folder}/$f" "{url}/$f"\ndone'
    )
    fetch = [{"label": "hubctl", "code": f"hubctl login {site}\n{pull}"}]
    by_curl = [{"label": "curl", "code": curl}] if row.files else []
    if not row.loads_in_peft:
        return fetch + by_curl
    if image := version.base and version.base.config.get("_class_name"):
        scripts = {"label": "sd-scripts", "code": f"hubctl pull {name} --as kohya -o {folder}"}
        whole = not facts.needs_base and (image.startswith("UNet") or "unet" in version.base.config)
        return [*fetch, *_image(base, image, folder, pull), *([scripts] if whole else []), *by_curl]
    taken_apart = _taken_apart(base, name, repository.name, experts) if experts else []
    return [
        *fetch,
        {"label": "PEFT", "code": f"# {pull}\n{peft}"},
        {"label": "PEFT, with HF_ENDPOINT", "code": _everything(site, repository, version, facts, base)},
        {"label": "PEFT, the adapter alone from here", "code": _scoped(site, repository, version, base)},
        *by_curl,
        *taken_apart,
        *_served(base, name, repository.name, version.label, facts, servers, _by_gguf(version)),
        *_by_id(site, base, version, facts, servers),
    ]


def _everything(site: str, repository: Repository, version: Version, facts: AdapterFacts, base: str) -> str:
    """Adapter and base are asked for here; a base that the hub doesn't serve comes from the client's own cache."""
    if facts.peft_type in MIXTURES:
        return f"export HF_ENDPOINT={site}\nhf download {repository.full_name} --revision {version.label}"
    return (
        f'import os\n\nos.environ["HF_ENDPOINT"] = "{site}"  # before the imports below\n\n'
        "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'base = AutoModelForCausalLM.from_pretrained("{base}")\n'
        f'model = PeftModel.from_pretrained(base, "{repository.full_name}", revision="{version.label}")'
    )


def _scoped(site: str, repository: Repository, version: Version, base: str) -> str:
    """The adapter alone comes from this hub; the base from wherever the client has its bases."""
    return (
        "from huggingface_hub import snapshot_download\nfrom peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n\n"
        f'folder = snapshot_download("{repository.full_name}", revision="{version.label}", endpoint="{site}")\n'
        f'base = AutoModelForCausalLM.from_pretrained("{base}")\nmodel = PeftModel.from_pretrained(base, folder)'
    )


def _image(base: str, model: str, folder: str, pull: str) -> list[dict[str, str]]:
    """An image model's part in PEFT; of a pipeline, whose modules are named by parts, PEFT loads nothing at once."""
    part = "unet" if model.startswith("UNet") else "transformer"
    if model.endswith("Pipeline"):
        return [{"label": "PEFT", "note": "It adapts several parts of a pipeline; PEFT loads an adapter of one model."}]
    code = (
        f"# {pull}\nfrom diffusers import {model}\nfrom peft import PeftModel\n\n"
        f'{part} = {model}.from_pretrained("{base}", subfolder="{part}")\n'
        f'{part} = PeftModel.from_pretrained({part}, "{folder}")'
    )
    return [{"label": "PEFT", "code": code}]


def of_dataset(site: str, repository: Repository, version: Version) -> list[dict[str, str]]:
    """The same for a dataset: pull it, measure on it."""
    name = str(version)
    return [
        {"label": "hubctl", "code": f"hubctl login {site}\nhubctl pull {name} -o {repository.name}"},
        {
            "label": "datasets, with HF_ENDPOINT",
            "code": f'import os\n\nos.environ["HF_ENDPOINT"] = "{site}"  # before the import below\n\n'
            "from datasets import load_dataset\n\n"
            f'rows = load_dataset("{repository.full_name}", revision="{version.label}")',
        },
        {"label": "Evaluate", "code": f"hubctl eval NAMESPACE/ADAPTER --dataset {name} --wait"},
    ]


def _loader(folder: str, facts: AdapterFacts) -> str:
    """What a mixture needs before PEFT can load it: its loader, which is in its folder."""
    if facts.peft_type not in MIXTURES:
        return ""
    return f'import sys\n\nsys.path.append("{folder}")\nimport lora_moe_peft\n'


def _taken_apart(base: str, name: str, short: str, experts: Sequence[dict]) -> list[dict[str, str]]:
    """A mixture's experts, one by one, all in one LoRA, and routed by PEFT's Arrow."""
    folders = [f"{short}-expert-{number}" for number in range(1, len(experts) + 1)]
    pulls = [
        f"hubctl pull {name} --expert {shlex.quote(expert['name'])} -o {folder}"
        for expert, folder in zip(experts, folders, strict=True)
    ]
    warning = textwrap.fill(CAT_WARNING, 56, initial_indent="# ", subsequent_indent="# ")
    cat = f"{warning}\nhubctl pull {name} --as cat -o {short}-cat"
    rows: list[dict[str, str]] = [{"label": "One expert", "code": pulls[0]}, {"label": "All as one LoRA", "code": cat}]
    if len({expert["rank"] for expert in experts}) == 1 and experts[0]["rank"].isdigit():
        code = "\n".join(f"# {pull}" for pull in pulls) + "\n" + arrow_snippet(base, folders, 3)
        return [*rows, {"label": "Arrow", "code": code}]
    return [*rows, {"label": "Arrow", "note": "PEFT's Arrow needs experts of one rank; these have several."}]


def _served(
    base: str,
    name: str,
    short: str,
    label: str,
    facts: AdapterFacts,
    rows: Sequence[dict],
    by_gguf: Mapping[str, str],
) -> list[dict[str, str]]:
    """The servers' snippets; of a mixture, and of what is no plain LoRA, one note for all."""
    if facts.peft_type in MIXTURES:
        note = (
            "vLLM, llama.cpp and other servers can't route tokens to adapters yet. Serve one expert, or all "
            "as one LoRA, which gives other answers."
        )
        return [{"label": "Servers", "note": note}]
    if facts.needs_base:
        return [{"label": "Servers", "note": f"Not for servers as it is: {facts.needs_base[0]['reason']}"}]
    return _servers(base, name, short, label, rows, by_gguf)


def _by_gguf(version: Version) -> Mapping[str, str]:
    """GGUF where the version's base is of an architecture that we can write it for."""
    config = version.base.config if version.base else {}
    return GGUF if config.get("model_type") in ARCHITECTURES else {}


def _by_id(site: str, base: str, version: Version, facts: AdapterFacts, rows: Sequence[dict]) -> list[dict[str, str]]:
    """How servers that read the files as they are stored fetch them themselves: `ns/name.v2` is the version's id."""
    right = {row["server"]: row for row in rows if row["answer"] == "right" and row["server"] in BY_ID}
    if not right or facts.peft_type in MIXTURES or facts.needs_base:
        return []
    name, id = version.repository.name, f"{version.repository.full_name}.{version.label}"
    lines = [f"export HF_ENDPOINT={site} HF_TOKEN=$HUB_TOKEN"]
    for server, row in right.items():
        rank = next((rank for rank in VLLM_RANKS if rank >= row["rank"]), row["rank"])
        lines += [f"# {row['label']}", BY_ID[server].format(base=base, rank=rank, name=name, id=id)]
    return [{"label": "By id", "code": "\n".join(lines)}]


def _servers(
    base: str, name: str, short: str, label: str, rows: Sequence[dict], by_gguf: Mapping[str, str]
) -> list[dict[str, str]]:
    """How each server is given the adapter: its files where it reads them right, else the uniform form, else why not.

    `rows` are `queries.servers`'; `label` is the version's; `by_gguf` is `_by_gguf`'s.
    """
    made = []
    for row in rows:
        if row["server"] in by_gguf:
            folder = f"{short}-{label}-gguf"
            code = f"hubctl pull {name} --as gguf -o {folder}\n{by_gguf[row['server']].format(folder=folder)}"
            made.append({"label": row["label"], "code": code})
            continue
        command = COMMANDS.get(row["server"])
        if command is None:
            continue
        title = row["label"]
        if row["answer"] != "right" and not row["uniform"]:
            made.append({"label": title, "note": f"Not for {title}: {row['why']}"})
            continue
        right = row["answer"] == "right"
        folder = f"{short}-{label}" if right else f"{short}-{label}-uniform"
        pull = f"hubctl pull {name} {'' if right else '--uniform '}-o {folder}"
        why = "" if right else textwrap.fill(f"As it is: {row['why']}", 76, initial_indent="# ", subsequent_indent="# ")
        rank = next((rank for rank in VLLM_RANKS if rank >= row["rank"]), row["rank"])
        code = command.format(base=base, name=short, folder=folder, rank=rank)
        made.append({"label": title, "code": "\n".join(filter(None, [why, pull, code]))})
    return made
