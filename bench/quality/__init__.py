"""The parts of merge_quality.py."""
