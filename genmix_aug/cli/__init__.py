"""The command line `genmix`."""
