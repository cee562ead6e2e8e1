"""Asking finished models: answers, exported files, explanations."""
