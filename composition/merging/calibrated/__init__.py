"""Merges that read a little text on the base: activation Grams, and coefficients that are learnt."""
