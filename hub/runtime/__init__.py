"""The hub's processes on one machine: web server, workers, embedded broker; what `make up` starts."""
