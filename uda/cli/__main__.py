"""``python -m uda.cli``."""

import sys

from uda.cli.main import main

sys.exit(main())
