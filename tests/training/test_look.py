"""A look at the network in training: what it sees, and that it leaves no trace."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from helpers.tiny import make_dataset
from helpers.training import CPU, SIZES, Killed, changed, labelled, tiny_model, unlabelled
from torch.nn import functional as F

from uda.augment.look import LookingAugmentation
from uda.augment.none import NoAugmentation
from uda.augment.puzzlemix import PuzzleMixAugmentation
from uda.config import AdaptConfig, ComputeConfig, TrainConfig
from uda.methods import METHODS
from uda.models.classifier import CosineClassifier, build_model
from uda.runs.folder import open_run
from uda.stages.build import fit_classifier
from uda.training import adapt, train
from uda.training.look import NetworkLook
from uda.training.source_batches import SourceBatches
from uda.training.state import Loop

POOLED = ["timm:test_efficientnet", "resnet18", "preact_resnet18"]
LOOP = Loop(SIZES, 0, CPU)


class Looks(LookingAugmentation):
    """Looks at the network in every way, and leaves the batch as it is."""

    name = "looks"

    def __init__(self):
        super().__init__(1.0)
        self.gradients = []

    def mix(self, images, targets, rng, look):
        self.gradients.append(look.gradient(images, targets))
        look.class_maps(images, targets)
        return images, targets


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("tiny"), per_class=4)


@pytest.fixture
def images():
    """A batch of the networks' size."""
    return torch.rand((3, 3, 32, 32), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def targets():
    """Soft targets [3, 5]."""
    return torch.eye(5)[[4, 0, 2]] * 0.9 + 0.02


def look_at(model, precision="float32"):
    return NetworkLook(model, ComputeConfig(precision=precision))


def network(backbone="timm:test_efficientnet", head="bottleneck_wn", px=32):
    """Return a network in train mode whose BatchNorm has statistics that are not the first."""
    model = build_model(backbone, "none", head, 16, 5, 0, px).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(8, 3, px, px, generator=torch.Generator().manual_seed(1)))
    return model


def state_of(model):
    """Return what a look might touch, comparable by ==."""
    values = {name: value.clone().numpy().tobytes() for name, value in model.state_dict().items()}
    modes = [layer.training for layer in model.modules()]
    flags = [weight.requires_grad for weight in model.parameters()]
    grads = [None if w.grad is None else w.grad.sum().item() for w in model.parameters()]
    return values, modes, flags, grads, torch.get_rng_state().tolist(), torch.is_grad_enabled()


def test_the_gradient_is_of_each_image_by_itself_in_eval_mode(images, targets):
    model = network()
    gradient = look_at(model).gradient(images, targets)
    model.eval()
    for k in range(3):
        alone = images[k : k + 1].clone().requires_grad_()
        F.cross_entropy(model(alone)[1], targets[k : k + 1]).backward()
        torch.testing.assert_close(gradient[k], alone.grad[0], atol=1e-7, rtol=1e-3)
    assert gradient.abs().max() > 1e-4


def test_looking_touches_nothing(images, targets):
    model = network()
    model(images)[1].square().sum().backward()
    list(model.modules())[7].eval()  # as `adapt.batch_norm: source` leaves BatchNorm
    model.classifier.requires_grad_(False)
    before, pixels = state_of(model), images.clone()
    look = look_at(model)
    with torch.no_grad():  # nor does it matter whether gradients are wanted outside
        look.gradient(images, targets)
    assert not look.class_maps(images, targets).requires_grad
    assert not look.gradient(images, targets).requires_grad
    assert state_of(model) == before
    assert torch.equal(images, pixels)
    assert not images.requires_grad


def test_nothing_remains_of_a_look_that_fails(images):
    model = network()
    before = state_of(model)
    with pytest.raises(RuntimeError):
        look_at(model).gradient(images, torch.zeros(3, 4))
    assert state_of(model) == before


@pytest.mark.parametrize("head", ["linear", "linear_nobias", "bottleneck", "bottleneck_wn"])
@pytest.mark.parametrize("backbone", POOLED)
def test_a_class_map_averages_to_the_logit(images, targets, backbone, head):
    model = network(backbone, head)
    maps = look_at(model).class_maps(images, targets)
    logits = model.eval()(images)[1]
    expected = logits[torch.arange(3), targets.argmax(dim=1)]
    torch.testing.assert_close(maps.mean(dim=(1, 2)), expected, atol=1e-4, rtol=1e-4)


def test_a_class_map_is_the_last_maps_weighted_by_the_classifier(images, targets):
    model = network("resnet18", "linear", 64)
    images = F.interpolate(images, 64)
    maps = look_at(model).class_maps(images, targets)
    model.eval()
    seen = []
    model.backbone.layer4.register_forward_hook(lambda *hooked: seen.append(hooked[2]))
    model(images)
    assert maps.shape == (3, 2, 2)
    for k, label in enumerate([4, 0, 2]):
        for row in range(2):
            for column in range(2):
                value = model.classifier.weight[label] @ seen[0][k, :, row, column]
                value = value + model.classifier.bias[label]
                torch.testing.assert_close(maps[k, row, column], value, atol=1e-4, rtol=1e-4)


def test_a_classifier_of_cosines_has_maps_up_to_a_factor(images, targets):
    model = network()
    model.classifier = CosineClassifier(model.classifier.weight.detach(), 0.05)
    maps = look_at(model).class_maps(images, targets)
    features, logits = model.eval()(images)
    factor = 0.05 * features.norm(dim=1)
    expected = logits[torch.arange(3), targets.argmax(dim=1)] * factor
    torch.testing.assert_close(maps.mean(dim=(1, 2)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "head", "message"),
    [
        ("timm:test_vit", "linear", "model.backbone: VisionTransformer does not average"),
        ("resnet18", "mlp", "model.head: it has a ReLU"),
        ("resnet18", "bottleneck_relu", "model.head: it has a ReLU"),
    ],
)
def test_networks_without_class_maps_are_refused(images, targets, backbone, head, message):
    model = network(backbone, head)
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        look_at(model).class_maps(images, targets)
    assert state_of(model) == before
    look_at(model).gradient(images, targets)


def test_half_precision_sees_the_same(images, targets):
    model = network()
    exact = look_at(model).gradient(images, targets)
    assert torch.equal(look_at(model, "float16").gradient(images, targets), exact)
    for kind in ("gradient", "class_maps"):
        half = getattr(look_at(model, "bfloat16"), kind)(images, targets)
        whole = getattr(look_at(model), kind)(images, targets)
        assert half.dtype == torch.float32
        assert F.cosine_similarity(half.flatten(), whole.flatten(), 0) > 0.98


def test_the_empty_colour_is_the_networks_mean():
    colour = look_at(network("resnet18")).mean_colour
    torch.testing.assert_close(colour, torch.tensor([0.485, 0.456, 0.406]))


def test_a_compiled_network_is_seen_as_it_is(images, targets):
    model, plain = network(), network()
    model.compile(backend="eager")
    for each in (model, plain):
        each(images)  # in train mode, as a step does
    before = state_of(model)
    for kind in ("gradient", "class_maps"):
        ours, theirs = (getattr(look_at(each), kind)(images, targets) for each in (model, plain))
        torch.testing.assert_close(ours, theirs)
    assert state_of(model) == before


def trained(dataset, run_folder, augmentation, kill_at=None, **settings):
    """Train a tiny network; return its weights."""

    def after_epoch(model, epoch):
        if epoch == kill_at:
            raise Killed

    model, run = tiny_model(5), open_run(run_folder, "train", {})
    settings = replace(TrainConfig(steps=7, batch_size=8), **settings)
    train.train(model, labelled(dataset), augmentation, 0, settings, run, LOOP, after_epoch)
    return model.state_dict()


def test_training_with_a_look_ends_in_the_same_weights(dataset, tmp_path):
    settings = {"accumulate": 2, "ema": 0.9, "clip_norm": 1.0}
    plain = trained(dataset, tmp_path / "plain", NoAugmentation(), **settings)
    augmentation = Looks()
    looked = trained(dataset, tmp_path / "looked", augmentation, **settings)
    assert not changed(plain, looked)
    assert len(augmentation.gradients) == 14
    assert augmentation.gradients[0].shape == (4, 3, 28, 28)


def test_a_look_is_at_the_weights_of_the_moment_not_at_the_average(dataset, tmp_path):
    """The gradient in a step is that by the weights with which the step before ended."""
    shown = []

    class Keeps(Looks):
        def mix(self, images, targets, rng, look):
            shown.append(
                (images, targets, {k: v.clone() for k, v in look.model.state_dict().items()})
            )
            return super().mix(images, targets, rng, look)

    augmentation = Keeps()
    trained(dataset, tmp_path, augmentation, ema=0.99)
    model = tiny_model(5)
    weights = []
    for (images, targets, state), gradient in zip(shown, augmentation.gradients, strict=True):
        model.load_state_dict(state)
        torch.testing.assert_close(look_at(model).gradient(images, targets), gradient)
        weights.append(state["classifier.bias"])
    assert not any(torch.equal(a, b) for a, b in pairwise(weights))


def test_a_killed_run_that_looks_goes_on_to_the_same_weights(dataset, tmp_path):
    augmentation = PuzzleMixAugmentation()
    undisturbed = trained(dataset, tmp_path / "a", augmentation)
    with pytest.raises(Killed):
        trained(dataset, tmp_path / "b", augmentation, kill_at=2)
    assert not changed(undisturbed, trained(dataset, tmp_path / "b", augmentation))
    assert changed(undisturbed, trained(dataset, tmp_path / "c", NoAugmentation()))


@pytest.mark.parametrize("name", ["ovanet", "cmu"])
def test_a_joint_method_looks_at_the_network_that_it_adapts(dataset, tmp_path, name):
    """CMU has passes in other modes between."""
    weights = {}
    for augmentation in (NoAugmentation(), Looks()):
        model, run = tiny_model(5), open_run(tmp_path / type(augmentation).__name__, name, {})
        method = METHODS[name](open_set=True)
        fit_classifier(model, method)
        settings = AdaptConfig(epochs=2, batch_size=8, epoch_steps=3, batch_norm="source")
        of_source = TrainConfig(batch_size=8, label_smoothing=0.0)
        source = SourceBatches(labelled(dataset), augmentation, 0, 5, of_source, LOOP)
        adapt.adapt(model, unlabelled(dataset), method, settings, run, LOOP, lambda *_: "", source)
        weights[type(augmentation)] = model.state_dict()
    assert len(augmentation.gradients) == 6
    assert not changed(*weights.values())
