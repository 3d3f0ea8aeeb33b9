"""Import this once and PEFT loads mixtures: `import hubctl.moe`, then `PeftModel.from_pretrained(base, folder)`.

Needs torch and peft: `pip install torch "peft>=0.21.2,<0.22"`. The code is `lora_moe_peft.py`, the same file that is in
every assembly; `record_routing` shows which expert served which token.
"""

try:
    import peft  # noqa: F401
    import torch  # noqa: F401
except ImportError as missing:
    raise ImportError(
        f'Mixtures run on torch and peft, and {missing.name} is not installed: pip install torch "peft>=0.21.2,<0.22".',
        name=missing.name,
    ) from missing

from hubctl.lora_moe_peft import MeteoraConfig, SmoraConfig, record_routing

__all__ = ["MeteoraConfig", "SmoraConfig", "record_routing"]
