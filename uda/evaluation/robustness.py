"""Attacks and corruptions of test images: how much a classifier's accuracy owes to clean ones."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as transforms

from genmix_aug.images import from_picture, to_picture
from uda.data.views import to_float
from uda.models.classifier import Classifier

ATTACK_BATCH = 128
SEVERITIES = (1, 2, 3, 4, 5)
MADE_FOR_PX = 224  # the side of the images that Hendrycks and Dietterich's blurs are for


def fgsm(
    logits_of: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, epsilon: float
) -> Tensor:
    """Return adversarial images by the fast gradient sign method (arXiv 1412.6572).

    clip(x + epsilon · sign(∂L/∂x), 0, 1), L the cross-entropy of the true labels.

    Args:
        logits_of: The network in eval mode, which normalises inside.
        images: x, float32 [B, 3, H, W] in [0, 1], not normalised.
        labels: [B].
        epsilon: In the unit of the images: 8 / 255 for 8 grey levels.
    """
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        # A sum, so that no image's gradient depends on the others.
        loss = F.cross_entropy(logits_of(x), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
    return (images + epsilon * gradient.sign()).clamp(0, 1)


def fgsm_error(
    model: Classifier, images: Tensor, labels: Tensor, epsilon: float, device: torch.device
) -> float:
    """Return the error in percent of ``model`` in eval mode on `fgsm` images.

    They are made of ``images`` uint8 [N, 3, H, W] with ``labels`` [N], in float32 whatever the
    precision of training.
    """
    model.eval()
    right = 0
    for batch, label in zip(images.split(ATTACK_BATCH), labels.split(ATTACK_BATCH), strict=True):
        x, y = to_float(batch, device), label.to(device)
        # By default convolutions on GPUs round to TF32.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            attacked = fgsm(lambda z: model(z)[1], x, y, epsilon)
            with torch.no_grad():
                right += int((model(attacked)[1].argmax(dim=1) == y).sum())
    return 100 * (1 - right / len(images))


def seeds_of(images: Tensor) -> list[int]:
    """Return a seed for each of ``images`` [N, …] from its pixels, whatever their order."""
    return [zlib.crc32(image.contiguous().cpu().numpy().tobytes()) for image in images]


def corrupt(images: Tensor, name: str, severity: int, seeds: Sequence[int]) -> Tensor:
    """Return ``images`` uint8 [B, 3, H, W] under a corruption of `CORRUPTIONS`, uint8.

    The corruptions follow seven of the fifteen of Hendrycks and Dietterich (arXiv 1903.12261), with
    their strengths for ImageNet; the blur's is scaled to the size of the images. They are not their
    code, so not comparable with the tables of ImageNet-C. ``severity`` is 1 to 5. What is random
    depends on each image's seed.
    """
    return CORRUPTIONS[name](images, severity - 1, seeds)


def corrupted(images: Tensor, name: str, severity: int) -> Tensor:
    """Return ``images`` under `corrupt`, by their `seeds_of`."""
    return corrupt(images, name, severity, seeds_of(images))


def _to_bytes(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def _normal(images: Tensor, seeds: Sequence[int]) -> Tensor:
    shape = images.shape[1:]
    draws = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(draws).to(images.device)


def gaussian_noise(images: Tensor, level: int, seeds: Sequence[int]) -> Tensor:
    """Add normal noise to every value, its deviation a share of the whole range."""
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[level]
    return _to_bytes(images / 255 + deviation * _normal(images, seeds))


def shot_noise(images: Tensor, level: int, seeds: Sequence[int]) -> Tensor:
    """Add Poisson noise, as of a few photons a value."""
    photons = (60, 25, 12, 5, 3)[level]
    counts = [
        torch.poisson(image.cpu() / 255 * photons, torch.Generator().manual_seed(seed))
        for image, seed in zip(images, seeds, strict=True)
    ]
    return _to_bytes(torch.stack(counts).to(images.device) / photons)


def gaussian_blur(images: Tensor, level: int, seeds: Sequence[int]) -> Tensor:
    """Blur by a Gaussian, its deviation in px of 224."""
    sigma = (1, 2, 3, 4, 6)[level] * images.shape[-1] / MADE_FOR_PX
    radius = min(math.ceil(3 * sigma), images.shape[-1] - 1)
    blurred: Tensor = transforms.gaussian_blur(images, [2 * radius + 1] * 2, [sigma, sigma])
    return blurred


def brightness(images: Tensor, level: int, seeds: Sequence[int]) -> Tensor:
    """Raise HSV's value; hue and saturation stay."""
    added = (0.1, 0.2, 0.3, 0.4, 0.5)[level]
    x = images / 255
    value = x.amax(dim=1, keepdim=True)
    raised = (value + added).clamp(max=1)
    return _to_bytes(torch.where(value > 0, x * raised / value.clamp(min=1e-6), raised))


def contrast(images: Tensor, level: int, seeds: Sequence[int]) -> Tensor:
    """Draw values towards their channel's mean over the image."""
    kept = (0.4, 0.3, 0.2, 0.1, 0.05)[level]
    x = images / 255
    mean = x.mean(dim=(2, 3), keepdim=True)
    return _to_bytes(mean + kept * (x - mean))


def jpeg(images: Tensor, level: int, seeds: Sequence[int]) -> Tensor:
    """Store the images as JPEG of low quality, and read them back."""
    quality = (25, 18, 15, 10, 7)[level]
    return torch.stack([_through_jpeg(image, quality) for image in images]).to(images.device)


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    to_picture(image).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        return from_picture(picture)


def pixelate(images: Tensor, level: int, seeds: Sequence[int]) -> Tensor:
    """Average the images to fewer, larger pixels."""
    size = images.shape[-2:]
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[level]
    height, width = (max(1, int(share * side)) for side in size)
    few = F.adaptive_avg_pool2d(images / 255, (height, width))
    return _to_bytes(F.interpolate(few, size, mode="nearest"))


CORRUPTIONS: dict[str, Callable[[Tensor, int, Sequence[int]], Tensor]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "gaussian_blur": gaussian_blur,
    "brightness": brightness,
    "contrast": contrast,
    "jpeg": jpeg,
    "pixelate": pixelate,
}
