"""Whole experiments: which runs they need, and making them."""
