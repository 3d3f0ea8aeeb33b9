"""Moving an adapter to another base: Trans-LoRA in four resumable stages, and shortcuts between related bases."""
