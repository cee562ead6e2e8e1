"""The command line `uda`."""

import sys


def start() -> int:
    """Run the command line and return its exit status; 130 where Ctrl-C comes while it loads."""
    try:
        from uda.cli.main import main
    except KeyboardInterrupt:
        print("uda: stopped", file=sys.stderr)
        return 130
    return main()
