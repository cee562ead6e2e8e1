import pytest
from helpers.tiny import make_dataset

from uda.data.spec import DatasetSpec, load_dataset_spec


@pytest.fixture
def spec(tmp_path) -> DatasetSpec:
    """A dataset of two domains (Plain, Dark) and five classes of four pictures each."""
    return load_dataset_spec(str(make_dataset(tmp_path, per_class=4)))
