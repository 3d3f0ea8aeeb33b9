"""Training: one loop, its checkpoints, and several processes that train one model."""
