"""Tests of the hub's web."""
