"""What a client is asked to do, a module a tool; each prints one line of JSON a call (`calls.run`)."""
