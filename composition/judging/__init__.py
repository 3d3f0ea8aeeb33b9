"""Judging merges: what one lost, and which of many is the best. Free of torch: it knows figures, no models."""
