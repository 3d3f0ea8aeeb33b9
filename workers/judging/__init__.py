"""What jobs that judge merges share: a bench on which arms are measured, and a store that outlives a kill."""
