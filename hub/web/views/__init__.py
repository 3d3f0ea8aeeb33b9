"""Pages: each view asks access, then a query or a service, then renders. No logic of their own."""
