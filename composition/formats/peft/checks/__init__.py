"""Checks of an adapter that stand by themselves: the folder's files, and fields of a config that peft does not know."""
