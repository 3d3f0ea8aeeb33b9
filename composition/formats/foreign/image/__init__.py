"""LoRAs of image models, as sd-scripts (kohya), LyCORIS and diffusers write them."""
