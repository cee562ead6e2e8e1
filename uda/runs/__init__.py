"""Runs: a folder for each, named after what decides its result."""
