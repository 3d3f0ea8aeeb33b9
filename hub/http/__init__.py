"""What the doors (pages, REST) share and is no business: byte ranges, file responses, authentication, converters."""
