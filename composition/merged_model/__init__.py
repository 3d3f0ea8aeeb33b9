"""A base and a LoRA written as one model: a folder with the bits of peft's `merge_and_unload`, or a GGUF file.

`plan` decides from configs and headers and `write` writes; for a GGUF base these are `gguf_plan` and `into_gguf`. This
package stands alone (the standard library, torch where it computes, the package `gguf` for GGUF files), for it is
published with the client as well: `hubctl/merged_model` is a link to it.
"""
