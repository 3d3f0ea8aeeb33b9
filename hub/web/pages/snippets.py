"""What to paste: an adapter in PEFT, with our client, by curl, and served by vLLM; a mixture also taken apart."""

import shlex
import textwrap
from collections.abc import Sequence

from composition.facts import AdapterFacts
from composition.formats.mixture.parts import CAT_WARNING, arrow_snippet
from composition.formats.peft.types import MIXTURES
from composition.formats.table import Format
from hub.models import Repository, Version

# The ranks vLLM accepts for --max-lora-rank.
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def of_adapter(
    site: str, repository: Repository, version: Version, facts: AdapterFacts, row: Format, experts: Sequence[dict] = ()
) -> list[dict[str, str]]:
    """[{"label", "code" or "note"}] for one version of the format `row`.

    `site` is the hub's own address, `experts` are a mixture's.
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
    url = f"{site}/api/v1/repositories/{repository.full_name}/files/{version.label}"
    curl = (
        f"for f in {' '.join(row.files)}; do\n"
        '  curl -fsSL -H "Authorization: Bearer $HUB_TOKEN" \\\n'
        f'    --create-dirs -o "{folder}/$f" "{url}/$f"\ndone'
    )
    fetch = [{"label": "hubctl", "code": f"hubctl login {site}\n{pull}"}]
    by_curl = [{"label": "curl", "code": curl}] if row.files else []
    if not row.loads_in_peft:
        return fetch + by_curl
    taken_apart = _taken_apart(base, name, repository.name, experts) if experts else []
    return [
        *fetch,
        {"label": "PEFT", "code": f"# {pull}\n{peft}"},
        *by_curl,
        *taken_apart,
        {"label": "vLLM", **_vllm(base, repository.name, folder, facts)},
    ]


def of_dataset(site: str, repository: Repository, version: Version) -> list[dict[str, str]]:
    """The same for a dataset: pull it, measure on it."""
    name = str(version)
    return [
        {"label": "hubctl", "code": f"hubctl login {site}\nhubctl pull {name} -o {repository.name}"},
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


def _vllm(base: str, name: str, folder: str, facts: AdapterFacts) -> dict[str, str]:
    """vLLM knows one scale for all modules and plain LoRA; for anything else it would be silently wrong."""
    scales = {round(module.scale, 9) for module in facts.modules.values()}
    if facts.peft_type in MIXTURES:
        return {
            "note": "vLLM, llama.cpp and other servers can't route tokens to adapters yet. Serve one expert, or all "
            "as one LoRA, which gives other answers."
        }
    if facts.needs_base:
        return {"note": f"Not for vLLM as it is: {facts.needs_base[0]['reason']}"}
    if len(scales) > 1:
        return {
            "note": "vLLM applies one scale to all modules, and this adapter has several: it would load and answer "
            "wrongly. Use PEFT, or compress it to one rank by an SVD merge first."
        }
    rank = next((rank for rank in VLLM_RANKS if rank >= facts.ranks[1]), None)
    if rank is None:
        return {"note": f"vLLM takes ranks up to {VLLM_RANKS[-1]}; this adapter has {facts.ranks[1]}."}
    return {
        "code": f"vllm serve {base} --enable-lora --max-lora-rank {rank} \\\n  --lora-modules {name}=./{folder}",
    }
