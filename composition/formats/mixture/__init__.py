"""Mixtures on disk: adapters stacked as experts with their router."""
