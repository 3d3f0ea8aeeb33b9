"""What the client reads: repositories, trees, refs and commits in the shapes of the protocol."""
