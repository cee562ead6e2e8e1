"""Which edits failed."""
