"""Fixtures of the tests of reports."""

import pytest
from helpers.tiny import make_dataset


@pytest.fixture
def dataset(tmp_path):
    """The file of the tiny dataset."""
    return make_dataset(tmp_path / "tiny", per_class=1)


@pytest.fixture
def runs(tmp_path):
    """The folder of runs, empty yet."""
    return tmp_path / "runs"
