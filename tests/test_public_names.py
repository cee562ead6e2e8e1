"""What `import genmix_aug` offers, and that it takes no time."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import genmix_aug

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", genmix_aug.__all__)
def test_every_name_is_there(name):
    assert getattr(genmix_aug, name) is not None
    assert name in dir(genmix_aug)
    imported = {}
    exec(f"from genmix_aug import {name}", imported)
    assert imported[name] is getattr(genmix_aug, name)


def test_names_are_those_of_the_modules():
    from genmix_aug.mixing.fractals import draw_fractals as fractals
    from genmix_aug.mixing.genmix import GenMix
    from genmix_aug.mixing.mix import mix_seam as mix

    assert genmix_aug.GenMix is GenMix
    assert genmix_aug.draw_fractals is fractals
    assert genmix_aug.mix_seam is mix
    assert genmix_aug.mixing.fractals.draw_fractals is fractals, "modules stay modules"


def test_an_unknown_name_is_named():
    with pytest.raises(AttributeError, match="'genmix_aug' has no attribute 'Genmix'"):
        genmix_aug.Genmix  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Genmix'"):
        from genmix_aug import Genmix  # noqa: F401


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, genmix_aug\ndir(genmix_aug)\n"
        "print(sorted({'torch', 'cv2', 'numpy', 'PIL', 'torchvision'} & set(sys.modules)))\n"
        "genmix_aug.PROMPT_SETS\nprint('torch' in sys.modules)\n"
        "genmix_aug.smooth_mask\nprint('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[]", "False", "True"]


@pytest.mark.parametrize("package", ["genmix_aug", "uda"])
def test_packages_are_marked_as_typed(package):
    assert (files(package) / "py.typed").is_file()
    settings = (ROOT / "setup.cfg").read_text().partition("[options.package_data]")[2]
    own = settings.partition(f"{package} =")[2].partition("=")[0]
    assert "py.typed" in own
