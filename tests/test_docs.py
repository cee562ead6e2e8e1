"""Pages of documentation name files and tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"`((?:tests|scripts)/[\w/.]+?\.(?:py|sh|yaml|sbatch))(?:::(\w+))?`")


def missing_in(text):
    """Return what a page names of tests and scripts that is not there."""
    missing = []
    for file, function in NAMED.findall(text):
        path = ROOT / file
        if not path.is_file():
            missing.append(file)
        elif function:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if function not in {getattr(node, "name", "") for node in tree.body}:
                missing.append(f"{file}::{function}")
    return missing


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_tests_and_scripts_that_a_page_names_exist(page):
    assert missing_in((ROOT / "docs" / page).read_text(encoding="utf-8")) == []


def test_every_promise_of_reliability_has_a_test():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    promised = text.partition("## Not promised")[0]
    rows = re.findall(r"^\| (?!---|event|promise).*$", promised, re.MULTILINE)
    points = re.findall(r"^- \*\*.*(?:\n  .*)*", promised, re.MULTILINE)
    assert len(rows) > 10
    assert len(points) > 3
    assert [text for text in (*rows, *points) if not NAMED.search(text)] == []


def test_what_is_not_there_is_found():
    text = "`tests/test_docs.py::missing_in`, `tests/none.py` and `tests/test_docs.py::none`"
    assert missing_in(text) == ["tests/none.py", "tests/test_docs.py::none"]
