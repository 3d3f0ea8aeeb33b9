"""What bodies of the protocol look like: repositories, trees, refs and commits as the client reads and writes them."""
