"""Ways to move an adapter between bases of one architecture without training."""
