"""The routes of REST, one noun a file: each asks access, then a query or a service, and answers in its shapes."""
