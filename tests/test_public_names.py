"""What `import genmix_aug` offers, and that it takes no time."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import genmix_aug

ROOT = Path(__file__).resolve().parents[1]
# Reading torch's types takes mypy minutes.
LIBRARIES_UNSEEN = [
    *("--config-file=", "--no-site-packages", "--ignore-missing-imports"),
    *("--follow-imports=silent", "--cache-dir=/dev/null"),
]


@pytest.mark.parametrize("name", genmix_aug.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(genmix_aug, name) is not None
    assert name in dir(genmix_aug)
    imported = {}
    exec(f"from genmix_aug import {name}", imported)
    assert imported[name] is getattr(genmix_aug, name)


def test_public_names_are_the_modules_objects():
    from genmix_aug.export import export_tree
    from genmix_aug.mixing.genmix import GenMix

    assert genmix_aug.GenMix is GenMix
    assert genmix_aug.export_tree is export_tree
    assert genmix_aug.export.export_tree is export_tree, "modules stay modules"


def test_type_checkers_see_the_names(tmp_path):
    """mypy reads them in the stub file instead of the package's code."""
    file = tmp_path / "uses.py"
    file.write_text("import genmix_aug\nreveal_type(genmix_aug.blend_width_for)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *LIBRARIES_UNSEEN, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "def (size: int) -> int" in done.stdout.replace("builtins.", ""), done.stdout


def test_an_unknown_name_is_named():
    with pytest.raises(AttributeError, match="No genmix_aug attribute Genmix"):
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
    patterns = settings.partition(f"{package} =")[2].partition("=")[0]
    assert "py.typed" in patterns
    assert "*.pyi" in patterns or package == "uda"
