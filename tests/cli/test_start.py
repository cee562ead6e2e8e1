"""The first moments of the command lines."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["uda", "genmix_aug"])
def test_an_interrupt_while_it_loads_is_no_traceback(package):
    code = f"""
import sys
from {package}.cli import start

class Interrupt:
    def find_spec(self, name, *_):
        if name == "jsonargparse":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
sys.exit(start())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.endswith(": stopped\n")
    assert "Traceback" not in done.stderr
