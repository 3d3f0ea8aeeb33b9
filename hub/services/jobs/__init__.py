"""Jobs: asked for, prepared, queued, leased to workers, ended."""
