"""Commits, as the Hugging Face protocol has them: operations on a branch's files that become one revision.

attributes   which files git keeps beside it, by `.gitattributes`
preflight    how a client is to send each file, and which it should leave out
operations   what a commit does to a branch's files
committing   the commit itself
beginning    the first one of a new repository
squashing    a branch without its past
lfs_files    the LFS files of all branches
"""
