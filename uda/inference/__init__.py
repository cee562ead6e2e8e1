"""Use of finished models: predictions, exported files, explanations."""
