"""The command line `genmix`."""

import sys


def start() -> int:
    """Run the command line and return its exit status; 130 where Ctrl-C comes while it loads."""
    try:
        from genmix_aug.cli.main import main
    except KeyboardInterrupt:
        print("genmix: stopped", file=sys.stderr)
        return 130
    return main()
