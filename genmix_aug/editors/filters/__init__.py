"""The editor `filters`: image processing on a CPU."""
