"""Datasets on disk: JSONL files of prompts and completions, of text, or of questions."""
