"""A hub on many hosts under faults: two web hosts, four workers, PostgreSQL, a Redis and an S3 server."""
