"""Generators on disk: generator_config.json and generator.safetensors."""
