"""``python -m uda.cli``."""

import sys

from uda.cli import start

sys.exit(start())
