"""What pages and REST share of HTTP itself: byte ranges, file responses, authentication, converters."""
