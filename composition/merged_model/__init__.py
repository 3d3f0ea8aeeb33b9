"""A base and a LoRA written as one model folder, tensor by tensor, with the bits of peft's `merge_and_unload`.

This package stands alone (standard library, and torch in `arithmetic`), for it is published with the client as well:
`hubctl/merged_model` is a link to it. `plan` decides from configs and headers; `write` writes.
"""
