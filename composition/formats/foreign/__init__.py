"""Adapters of other tools: recognised, turned into PEFT's form without changing a value, and kept beside it.

    detect → plan → adapter_config.json + adapter_model.safetensors, the originals under original/

A hub that receives such a folder publishes both forms (`hub.services.importing`); everything after that, from
merges to downloads, sees a PEFT adapter. Torch-free but for `read`.
"""

from composition.formats.foreign.rows import ROWS

__all__ = ["ROWS"]
