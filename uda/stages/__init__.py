"""The stages of an experiment, each of which makes or scores a run."""
