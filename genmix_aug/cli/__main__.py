"""``python -m genmix_aug.cli``."""

import sys

from genmix_aug.cli.main import main

sys.exit(main())
