"""Tests of the hub's jobs."""
