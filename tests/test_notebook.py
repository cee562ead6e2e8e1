"""docs/notebook.ipynb, run from its first cell to its last."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebook.ipynb"


def shown(notebook):
    """The figures in what its cells show, and what kinds of pictures."""
    every = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    outputs = [output for output in every if "data" in output]  # no warnings, as of a font cache
    texts = [output.data["text/plain"] for output in outputs]
    figures = [re.findall(r"\d+\.\d+", text) for text in texts]
    return [sorted(output.data) for output in outputs], figures


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_is_in_it():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    before = shown(notebook)
    NotebookClient(
        notebook, timeout=280, resources={"metadata": {"path": NOTEBOOK.parent}}
    ).execute()
    assert shown(notebook) == before
    kinds, figures = before
    assert sum("image/jpeg" in of_output for of_output in kinds) == 3
    assert max(map(len, figures)) == 24, "four for each of six rows"
