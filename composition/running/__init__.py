"""Base models at work: loading, prompting, reading, evaluating, trying out."""
