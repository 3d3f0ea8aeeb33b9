"""Attacks on the hub, each one a fault that was there or could be."""
