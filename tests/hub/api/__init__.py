"""Tests of the hub's api."""
