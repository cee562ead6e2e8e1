"""Scores of predictions, and choices made without labels."""
