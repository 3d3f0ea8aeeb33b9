"""Mixtures of stored adapters that route every token by themselves: MeteoRA (adapters are experts), SMoRA (ranks are).

`lora_moe_peft.py` is the layers and their PEFT types; it stands alone, because every assembly ships a copy of it.
"""
