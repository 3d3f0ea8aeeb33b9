"""What others do with a repository: they propose changes to it, and ask for the files of a gated one."""
