"""Bundles: repositories as one signed file, to carry over an air gap from one hub to another."""
