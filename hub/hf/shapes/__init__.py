"""What the protocol's bodies look like: read and written here, with no business in them."""
