"""The command line `uda`."""
