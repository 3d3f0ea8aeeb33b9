"""Merges that need no more of the adapters than small cores in shared bases, a module a family (`cores`)."""
