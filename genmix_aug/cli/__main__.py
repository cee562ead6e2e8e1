"""``python -m genmix_aug.cli``."""

import sys

from genmix_aug.cli import start

sys.exit(start())
