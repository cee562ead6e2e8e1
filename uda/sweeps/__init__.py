"""Whole experiments: the runs that they need, and making them."""
