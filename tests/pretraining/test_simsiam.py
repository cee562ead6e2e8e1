import pytest
import torch
from helpers.training import CPU, SIZES, tiny_model

from uda.compute.devices import forward
from uda.pretraining.simsiam import SimSiam, negative_cosine
from uda.training.state import Loop

LOOP = Loop(SIZES, seed=3, device=CPU)


def rows(seed, count=6, dim=5):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def built(**options):
    model = tiny_model(1)
    method = SimSiam(**{"dim": 16, "hidden": 4, **options})
    method.build(model, 40, 8, LOOP)
    return model.train(), method.train()


def test_the_loss_is_the_formula():
    p, z = rows(0), rows(1)
    naive = [float(a @ b / (a.norm() * b.norm())) for a, b in zip(p, z, strict=True)]
    assert float(negative_cosine(p, z)) == pytest.approx(-sum(naive) / 6, abs=1e-6)


def test_no_gradient_goes_to_the_projection():
    p, z = rows(0).requires_grad_(), rows(1).requires_grad_()
    negative_cosine(p, z).backward()
    assert z.grad is None
    assert p.grad is not None


def test_loss_and_heads_are_lightlys():
    """lightly is no requirement: `pip install --no-deps lightly` runs this test."""
    lightly = pytest.importorskip("lightly.loss")
    from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead

    p, z = rows(0), rows(1)
    theirs = lightly.NegativeCosineSimilarity()(p, z)
    assert torch.allclose(negative_cosine(p, z), theirs, atol=1e-6)
    model, method = built()
    width = model.classifier.in_features
    heads = (
        (SimSiamProjectionHead(width, 16, 16), method.projector, width),
        (SimSiamPredictionHead(16, 4, 16), method.predictor, 16),
    )
    for head, ours, inputs in heads:
        values = ours.state_dict().values()
        head.load_state_dict(dict(zip(head.state_dict(), values, strict=True)))
        features = rows(2, 8, inputs)
        assert torch.equal(head(features), ours(features))


def test_both_views_are_predicted():
    model, method = built()
    first, second = torch.rand(2, 8, 3, 28, 28).unbind()

    @torch.no_grad()
    def loss(*views):
        return float(method.loss(lambda images: forward(model, images)[0], *views, 0))

    assert loss(first, second) == pytest.approx(loss(second, first), abs=1e-5)
    assert loss(first, first) != pytest.approx(loss(first, second), abs=1e-5)


def test_a_wrong_option_is_named():
    with pytest.raises(ValueError, match=r"pretrain\.options\.simsiam\.hidden: 0 must be at least"):
        SimSiam(hidden=0)
