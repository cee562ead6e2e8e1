import pytest
import torch

from uda.methods.geometry import known_basis, split_norms


@pytest.mark.parametrize(("num_classes", "dim"), [(1, 2), (3, 7), (15, 256)])
def test_norms_equal_those_over_the_full_basis(num_classes, dim):
    generator = torch.Generator().manual_seed(dim)
    weights = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    z = torch.randn(9, dim, generator=generator, dtype=torch.float64)
    full = torch.linalg.svd(weights.T, full_matrices=True).U
    known, unknown = split_norms(z, known_basis(weights))
    expected_known = (z @ full[:, :num_classes]).norm(dim=1)
    expected_unknown = (z @ full[:, num_classes:]).norm(dim=1)
    torch.testing.assert_close(known, expected_known)
    torch.testing.assert_close(unknown, expected_unknown)


def test_a_class_weight_lies_in_the_known_space():
    weights = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    known, unknown = split_norms(weights, known_basis(weights))
    torch.testing.assert_close(known, weights.norm(dim=1))
    assert unknown.max() < 1e-5


def test_no_unknown_space_is_an_error():
    with pytest.raises(ValueError, match="10 for 10 classes"):
        known_basis(torch.randn(10, 10))
