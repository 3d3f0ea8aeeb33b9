"""Commits, as the Hugging Face protocol has them: operations on a branch's files that become one revision.

attributes   which files git keeps beside it, by `.gitattributes`
"""
