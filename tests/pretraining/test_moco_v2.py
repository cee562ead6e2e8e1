import math

import pytest
import torch
from helpers.training import CPU, SIZES, tiny_model
from torch import nn
from torch.nn import functional as F

from uda.augment.base import seeded
from uda.compute.devices import forward
from uda.models.classifier import Classifier
from uda.pretraining.moco_v2 import MoCoV2, info_nce
from uda.training.state import Loop

LOOP = Loop(SIZES, seed=3, device=CPU)
BATCH = 8


def images(seed, count=BATCH):
    return torch.rand(count, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


def built(model=None, num_images=40, **options):
    """Return a network and MoCo v2 on it."""
    model = model or tiny_model(1)
    method = MoCoV2(**options)
    method.build(model, num_images, BATCH, LOOP)
    return model.train(), method.train()


def encoder(model):
    return lambda batch: forward(model, batch)[0]


def unit_rows(count, dim, seed):
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows, dim=1)


def naive_loss(queries, keys, negatives, temperature):
    """The papers' formula, query by query."""
    losses = []
    for query, key in zip(queries.tolist(), keys.tolist(), strict=True):

        def score(other, query=query):
            return math.exp(sum(a * b for a, b in zip(query, other, strict=True)) / temperature)

        everything = score(key) + sum(score(other) for other in negatives.tolist())
        losses.append(-math.log(score(key) / everything))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("count", "negatives"), [(5, 12), (1, 1)])
def test_the_loss_is_the_formula(count, negatives):
    rows = unit_rows(count, 6, 0), unit_rows(count, 6, 1), unit_rows(negatives, 6, 2)
    assert float(info_nce(*rows, 0.2)) == pytest.approx(naive_loss(*rows, 0.2), abs=1e-5)


def test_loss_head_and_momentum_are_lightlys():
    """lightly is no requirement: `pip install --no-deps lightly` runs this test."""
    lightly = pytest.importorskip("lightly.loss")
    from lightly.models.modules.heads import MoCoProjectionHead
    from lightly.models.utils import update_momentum

    model, method = built(dim=16)
    theirs = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(24, 16))
    queries, keys = unit_rows(BATCH, 16, 0), unit_rows(BATCH, 16, 1)
    theirs(queries, keys)  # makes its queue
    negatives = theirs.memory_bank.bank.clone()
    expected = theirs(queries, keys)
    assert torch.allclose(info_nce(queries, keys, negatives, 0.2), expected, atol=1e-6)
    width = model.classifier.in_features
    head = MoCoProjectionHead(width, width, 16)
    values = method.projector.state_dict().values()
    head.load_state_dict(dict(zip(head.state_dict(), values, strict=True)))
    features = torch.rand(BATCH, width)
    assert torch.equal(head(features), method.projector(features))
    slow = tiny_model(1, seed=1).backbone
    method.key_network.backbone.load_state_dict(slow.state_dict())
    method.loss(encoder(model), images(0), images(1), 0)
    method.after_step(model)
    update_momentum(model.backbone, slow, 0.99)
    for ours, theirs_ in zip(
        method.key_network.backbone.parameters(), slow.parameters(), strict=True
    ):
        assert torch.allclose(ours, theirs_, atol=1e-7)


def test_the_queue_holds_the_keys_of_the_last_batches_in_turn():
    model, method = built(queue=16)
    assert torch.allclose(method.queue.norm(dim=1), torch.ones(16))
    before, keys = method.queue.clone(), []
    for step in range(3):
        method.loss(encoder(model), images(step), images(10 + step), step)
        assert torch.equal(method.queue, before), "the loss comes before"
        keys.append(method.keys.clone())
        method.after_step(model)
        before = method.queue.clone()
    assert torch.equal(method.queue, torch.cat([keys[2], keys[1]]))
    assert not method.queue.requires_grad


def test_the_initial_queue_is_drawn_by_the_runs_seed_alone():
    torch.manual_seed(0)
    first = built()[1].queue
    torch.manual_seed(1)
    assert torch.equal(built()[1].queue, first)


def test_the_state_holds_queue_and_key_network():
    model, method = built()
    method.loss(encoder(model), images(0), images(1), 0)
    method.after_step(model)
    _, other = built()
    assert not torch.equal(other.queue, method.queue)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.queue, method.queue)
    assert other.oldest == BATCH
    assert torch.equal(other.keys_of(images(2), 5), method.keys_of(images(2), 5))


def test_only_queries_have_a_gradient():
    model, method = built()
    method.loss(encoder(model), images(0), images(1), 0).backward()
    assert all(p.grad is not None for p in method.projector.parameters())
    assert all(p.grad is None for p in method.key_network.parameters())


# ---- BatchNorm


def changed_keys(splits):
    """Return which keys change with the first picture of the batch, bool [B]."""
    _, method = built(bn_splits=splits)
    before = method.keys_of(images(0), seed=4)
    batch = images(0)
    batch[0] = 0
    return (method.keys_of(batch, seed=4) - before).abs().amax(dim=1) > 1e-6


def test_a_key_depends_on_the_pictures_of_its_group_alone():
    """Without groups every key tells of the whole batch, as every query does."""
    assert int(changed_keys(1).sum()) == BATCH
    assert int(changed_keys(4).sum()) == 2


def test_the_groups_are_drawn_anew_in_each_step():
    _, method = built(bn_splits=2)
    keys = [method.keys_of(images(0), seed) for seed in (0, 1, 0)]
    assert not torch.allclose(keys[0], keys[1], atol=1e-6)
    assert torch.equal(keys[0], keys[2])


def test_keys_come_in_the_order_of_the_queries():
    model = Classifier(nn.Flatten(), nn.Identity(), nn.Linear(3 * 28 * 28, 1), (0.0,), (1.0,))
    model, method = built(model)
    alone = torch.cat([method.projector(model(image[None])[0]) for image in images(0)])
    assert torch.allclose(method.keys_of(images(0), 7), F.normalize(alone, dim=1), atol=1e-5)


def batch_found(splits):
    """Train on pictures of which the two views share nothing; return how well keys are found.

    The key of each query is of another picture of its batch, so that nothing but BatchNorm's
    statistics, which are of the same pictures, tells it from the keys of other batches. Returned is
    the loss of chance, log(1 + K), less the mean loss of the last steps.
    """
    width, batch, steps, last = 32, 16, 300, 100
    generator = torch.Generator().manual_seed(0)
    with seeded(0):
        backbone = nn.Sequential(
            *(nn.Flatten(), nn.Linear(12, width), nn.BatchNorm1d(width), nn.ReLU()),
            *(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()),
        )
        model = Classifier(backbone, nn.Identity(), nn.Linear(width, 1), (0.0,), (1.0,))
    method = MoCoV2(bn_splits=splits, momentum=0.9)
    method.build(model, 512, batch, LOOP)
    parameters = [*model.train().backbone.parameters(), *method.projector.parameters()]
    optimizer = torch.optim.Adam(parameters, 3e-3)
    losses = []
    for step in range(steps):
        pictures = torch.randn(batch, 3, 2, 2, generator=generator)
        loss = method.loss(encoder(model), pictures, pictures.roll(batch // 2, 0), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(model)
        losses.append(float(loss.detach()))
    return math.log(1 + len(method.queue)) - sum(losses[-last:]) / last


def test_keys_in_groups_keep_training_from_finding_the_batch_instead_of_the_picture():
    """The leak: .09 nats in one piece, .02 in four groups."""
    leak, left = batch_found(1), batch_found(4)
    assert leak > 0.04
    assert left < leak / 2


# ---- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queue": 12}, "queue: 12 keys are not a multiple of train.batch_size 8"),
        ({"queue": 24}, "queue: 24 keys for 40 pictures, which would .* take at most 16"),
        ({"queue": -8}, "queue: -8 must not be negative"),
        ({"bn_splits": 3}, "bn_splits: 8 pictures .* cannot be divided into 3 equal groups"),
        ({"bn_splits": 8}, "bn_splits: 8 pictures .* 8 equal groups of at least 2"),
        ({"bn_splits": 0}, "bn_splits: 0 must be at least 1"),
        ({"momentum": 1.0}, "momentum: 1.0 must be at least 0 and below 1"),
        ({"temperature": 0.0}, "temperature: 0.0 must be positive"),
        ({"dim": 0}, "dim: 0 must be at least 1"),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(options, words):
    with pytest.raises(ValueError, match=rf"pretrain\.options\.moco_v2\.{words}"):
        MoCoV2(**options).check(40, BATCH)


def test_too_few_pictures_for_a_queue_are_said():
    with pytest.raises(ValueError, match="half of the 15 pictures are fewer than a batch of 8"):
        MoCoV2().check(15, BATCH)


def test_the_longest_queue_is_taken_unless_one_is_named():
    assert len(built(num_images=47)[1].queue) == 16
    assert len(built(num_images=47, queue=8)[1].queue) == 8
