"""Tests of the hub's content."""
