"""Merges: one file a method, beside what they share (units, Gram matrices, k-means, diagnostics)."""
