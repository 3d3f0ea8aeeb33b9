"""Merges: one file per method, and what they share (units, Gram matrices, k-means, diagnostics)."""
