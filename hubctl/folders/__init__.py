"""A folder here on its way to the hub: which of its files are pushed, and their copy with mended names."""
