import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from uda.evaluation.metrics import calibration_error
from uda.evaluation.robustness import CORRUPTIONS, SEVERITIES, corrupt, fgsm, fgsm_error, seeds_of
from uda.models.classifier import Classifier


class Flat(nn.Module):
    def forward(self, x):
        return x.flatten(1)


def linear(num_classes=4, px=5, std=0.25):
    torch.manual_seed(0)
    classifier = nn.Linear(3 * px * px, num_classes)
    return Classifier(Flat(), nn.Identity(), classifier, (0.5,) * 3, (std,) * 3).eval()


def pictures(count, px=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, px, px), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("epsilon", [1 / 255, 8 / 255, 0.3])
def test_a_linear_models_attack_is_its_closed_form(epsilon):
    """Of logits W x + b the gradient is (p - onehot) W, times 1 / std of the normalisation."""
    model, x = linear(), pictures(6).float() / 255
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    p = model(x)[1].softmax(dim=1).detach()
    slope = (p - F.one_hot(labels, 4)) @ model.classifier.weight.detach() / 0.25
    expected = (x + epsilon * slope.view_as(x).sign()).clamp(0, 1)
    attacked = fgsm(lambda z: model(z)[1], x, labels, epsilon)
    torch.testing.assert_close(attacked, expected)
    assert attacked.dtype == torch.float32
    assert (attacked - x).abs().max() <= epsilon + 1e-6
    assert model.classifier.weight.grad is None  # the model's gradients are untouched


def test_an_attack_does_not_depend_on_the_rest_of_the_batch():
    model, x, labels = linear(), pictures(4).float() / 255, torch.tensor([0, 1, 2, 3])
    together = fgsm(lambda z: model(z)[1], x, labels, 0.1)
    for row in range(4):
        alone = fgsm(lambda z: model(z)[1], x[row : row + 1], labels[row : row + 1], 0.1)
        assert torch.equal(alone[0], together[row])


def test_the_error_grows_with_epsilon_and_is_the_clean_error_at_0():
    model, images = linear(), pictures(300)
    with torch.no_grad():
        predicted = model(images.float() / 255)[1].argmax(dim=1)
    # A fifth is wrong.
    labels = torch.where(torch.arange(300) < 240, predicted, (predicted + 1) % 4)
    cpu = torch.device("cpu")
    errors = [fgsm_error(model, images, labels, e / 255, cpu) for e in (0, 1, 8, 64)]
    assert errors[0] == pytest.approx(20)
    assert errors == sorted(errors)
    assert errors[-1] == pytest.approx(100)


def test_the_calibration_error_equals_a_loop_over_bins():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.5] * 6, 500)
    labels = rng.integers(0, 6, 500)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for bin_ in range(15):
        inside = (confidence > bin_ / 15) & (confidence <= (bin_ + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(labels, probabilities) == pytest.approx(100 * expected)


def test_bins_are_closed_on_the_right():
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1]])  # right in a bin, wrong in the other
    assert calibration_error(np.array([0, 1]), probabilities, bins=2) == pytest.approx(70)


def test_the_calibration_error_of_sure_answers():
    sure = np.array([[1.0, 0.0]] * 4)
    assert calibration_error(np.zeros(4, int), sure) == 0
    assert calibration_error(np.ones(4, int), sure) == 100
    assert calibration_error(np.array([0, 0, 1, 1]), sure) == 50
    assert math.isnan(calibration_error(np.zeros(0, int), np.zeros((0, 2))))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_corruption_grows_with_its_severity(name):
    # An image with edges and areas, as pictures have them.
    image = F.interpolate(pictures(3, 12).float(), (99, 90), mode="bilinear").to(torch.uint8)
    seeds = seeds_of(image)
    changes = []
    for severity in SEVERITIES:
        changed = corrupt(image, name, severity, seeds)
        assert changed.shape == image.shape
        assert changed.dtype == torch.uint8
        changes.append((changed.float() - image.float()).abs().mean())
    # Pixelate's grids meet the pixels at some severities better than at others.
    every = changes[::2] if name == "pixelate" else changes
    assert every == sorted(every)
    assert changes[0] > 0


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_depends_on_the_picture_alone(name):
    images = pictures(5, 16)
    together = corrupt(images, name, 3, seeds_of(images))
    turned = images.flip(0)
    assert torch.equal(corrupt(turned, name, 3, seeds_of(turned)).flip(0), together)
    assert torch.equal(corrupt(images[2:3], name, 3, seeds_of(images[2:3])), together[2:3])


def test_corruptions_follow_their_formulas():
    images = pictures(2, 12)
    x = images.double() / 255
    seeds = seeds_of(images)

    def close(name, expected, level=1):
        corrupted = corrupt(images, name, 3, seeds).double()
        assert (corrupted - 255 * expected.clamp(0, 1)).abs().max() <= level

    mean = x.mean(dim=(2, 3), keepdim=True)
    close("contrast", mean + 0.2 * (x - mean))
    hsv = torch.stack([_hsv_raised(image, 0.3) for image in images])
    close("brightness", hsv / 255, level=6)  # Pillow's HSV has 8 bits
    few = F.avg_pool2d(x, 3)  # 12 · 0.4 is 4 pixels a side
    close("pixelate", few.repeat_interleave(3, 2).repeat_interleave(3, 3))


def _hsv_raised(image, added):
    hsv = np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("HSV")).astype(int)
    hsv[..., 2] = np.minimum(hsv[..., 2] + round(255 * added), 255)
    back = Image.fromarray(hsv.astype(np.uint8), mode="HSV").convert("RGB")
    return torch.from_numpy(np.array(back)).permute(2, 0, 1).double()


def test_the_blur_scales_with_the_size_of_the_image():
    edge = torch.zeros(1, 3, 56, 56, dtype=torch.uint8)
    edge[..., 28:] = 255
    blurred = corrupt(edge, "gaussian_blur", 5, [0])[0, 0, 28].int()
    sigma = 6 * 56 / 224
    weights = torch.exp(-((torch.arange(-10, 11) / sigma) ** 2) / 2)
    # Across the edge it rises by the middle weight of the kernel.
    assert blurred[28] - blurred[27] == pytest.approx(255 / float(weights.sum()), abs=1.5)


def test_noise_has_the_stated_strength():
    grey = torch.full((1, 3, 80, 80), 128, dtype=torch.uint8)
    normal = corrupt(grey, "gaussian_noise", 1, [3]).double() / 255
    assert normal.std() == pytest.approx(0.08, rel=0.03)
    shots = corrupt(grey, "shot_noise", 1, [3]).double() / 255
    assert shots.mean() == pytest.approx(128 / 255, rel=0.01)
    assert shots.var() == pytest.approx(128 / 255 / 60, rel=0.06)  # of a Poisson, its mean


def test_black_and_white_stay_finite():
    for value in (0, 255):
        flat = torch.full((1, 3, 9, 9), value, dtype=torch.uint8)
        for name in CORRUPTIONS:
            assert corrupt(flat, name, 5, [0]).shape == flat.shape
    black = torch.zeros((1, 3, 4, 4), dtype=torch.uint8)
    assert corrupt(black, "brightness", 1, [0]).unique().tolist() == [26]  # grey, a tenth
