"""PuzzleMix as a training augmentation: images share a grid so that each shows what matters."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uda.augment.cuts import Floats, least_energy_levels
from uda.augment.look import Look, LookingAugmentation
from uda.augment.masks import previous
from uda.augment.saliency import gradient_saliency, normalised
from uda.augment.transport import move_blocks, transport_plan

GRIDS = (2, 4, 8, 16)  # n, blocks a side


class GridCosts(NamedTuple):
    """What the mask costs on a grid of n × n blocks.

    Attributes:
        losing_own: Of not showing the image in a block, [B, n, n].
        losing_other: Of not showing its partner.
        down: w of neighbours below each other, [B, n − 1, n].
        right: w of neighbours side by side, [B, n, n − 1].
    """

    losing_own: Tensor
    losing_other: Tensor
    down: Tensor
    right: Tensor


class PuzzleMixAugmentation(LookingAugmentation):
    """PuzzleMix (arXiv 2009.06962), its mixing alone.

    On a grid of n × n blocks, n even of {2, 4, 8, 16}, an image x has the share z of a block and
    the image before it in the batch, x', the rest. z, of ``levels`` values from 0 to 1, minimises

        Σ z U' + (1 − z) U + Σ over neighbours of w (z − z')² − η/n² Σ log p(z),

    the saliency of what is not shown, what the seams show (``gamma`` weighs the pictures' own
    differences, within ``neighbourhood`` px, ``beta`` the smoothness), and a binomial prior with λ
    from Beta(alpha, alpha). Saliency is √(mean of g² over the colours), g the gradient of the
    cross-entropy by the image. With ``transport`` the salient blocks of both images (of
    ``transport_px``; −1: the grid's) then move to where they are shown, a move of the whole width
    costing ``epsilon``. Images and targets are mixed by z. λ and n are drawn once a batch, which is
    mixed with ``probability``.

    The cut is exact where the released code swaps labels until no swap helps, so that no energy is
    higher than the released. Grids that do not divide the images are not drawn. The loss on clean
    images and the adversarial option are left out. Raises ValueError naming the option at fault.
    """

    name = "puzzlemix"
    title = "PuzzleMix"

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        beta: float = 1.2,
        gamma: float = 0.5,
        eta: float = 0.2,
        levels: int = 3,
        neighbourhood: int = 4,
        transport: bool = True,
        transport_px: int = -1,
        epsilon: float = 0.8,
        probability: float = 1.0,
    ) -> None:
        super().__init__(probability)
        where = "augment.options.puzzlemix"
        for key, value in (("alpha", alpha), ("beta", beta)):
            if not 0 < value < math.inf:
                raise ValueError(f"{where}.{key}: {value} must be positive")
        if not 0 <= gamma <= 1:
            raise ValueError(f"{where}.gamma: {gamma} is not in 0 to 1")
        for key, value in (("eta", eta), ("epsilon", epsilon)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{where}.{key}: {value} must not be negative")
        if levels < 2:
            raise ValueError(f"{where}.levels: {levels} must be at least 2")
        if neighbourhood < 1:
            raise ValueError(f"{where}.neighbourhood: {neighbourhood} must be at least 1 px")
        if transport_px < 1 and transport_px != -1:
            raise ValueError(f"{where}.transport_px: {transport_px} must be px, or -1")
        self.alpha, self.beta, self.gamma, self.eta = alpha, beta, gamma, eta
        self.levels = levels
        self.neighbourhood = neighbourhood
        self.transport = transport
        self.transport_px = transport_px
        self.epsilon = epsilon

    def mix(
        self, images: Tensor, targets: Tensor, rng: np.random.Generator, look: Look
    ) -> tuple[Tensor, Tensor]:
        """Return each image sharing a grid with its partner, and targets mixed by the shares."""
        size = int(rng.choice(grids_of(*images.shape[-2:])))
        share = rng.beta(self.alpha, self.alpha)
        saliency = gradient_saliency(look.gradient(images, targets))
        partners = previous(images)
        mask = self._mask(images, saliency, partners, size, share)
        other = images[partners]
        if self.transport:
            empty = look.mean_colour
            images, other = (
                self._moved(images, saliency, mask, empty),
                self._moved(other, saliency[partners], 1 - mask, empty),
            )
        share_of_pixel = _enlarged(mask, images.shape[-2] // size, images.shape[-1] // size)
        mixed = torch.lerp(other, images, share_of_pixel[:, None])
        shares = mask.mean(dim=(1, 2))[:, None].to(targets)
        return mixed, torch.lerp(targets[partners], targets, shares.expand_as(targets))

    def _mask(
        self, images: Tensor, saliency: Tensor, partners: Tensor, size: int, share: float
    ) -> Tensor:
        """Return z, the images' shares of the blocks, [B, n, n]."""
        saliency = normalised(F.adaptive_avg_pool2d(saliency[:, None], size)[:, 0])
        costs = grid_costs(images, saliency, partners, self.beta, self.gamma, self.neighbourhood)
        prior = self.eta / size**2 * prior_costs(self.levels, share)
        z = np.linspace(0, 1, self.levels)
        own, other, down, right = (part.double().cpu().numpy() for part in costs)
        of_level = z * other[..., None] + (1 - z) * own[..., None] + prior
        levels = least_energy_levels(of_level, down, right)
        return torch.from_numpy(levels / (self.levels - 1)).to(images)

    def _moved(self, images: Tensor, saliency: Tensor, mask: Tensor, empty: Tensor) -> Tensor:
        """Return ``images`` with their salient blocks where ``mask`` [B, n, n] shows them."""
        size, side = mask.shape[1], min(images.shape[-2:])
        factor = 1
        if self.transport_px > 0:  # blocks of the grid are cut into factor × factor
            wanted = max(1, side // size // self.transport_px)
            factor = max(k for k in range(1, wanted + 1) if _divides(k * size, images))
        fine = _enlarged(mask, factor, factor)
        saliency = normalised(F.adaptive_avg_pool2d(saliency[:, None], size * factor)[:, 0])
        return move_blocks(images, *transport_plan(saliency, fine, self.epsilon), empty)


def grids_of(height: int, width: int) -> list[int]:
    """Return the n to draw from: those of `GRIDS` that divide the images, or else other divisors.

    Raises ValueError for images that no grid divides.
    """
    common = math.gcd(height, width)
    sizes = [n for n in GRIDS if common % n == 0]
    sizes = sizes or [n for n in range(2, GRIDS[-1] + 1) if common % n == 0]
    if not sizes:
        raise ValueError(
            f"images.crop_px: puzzlemix cannot divide {height} × {width} px into "
            f"2 to {GRIDS[-1]} equal blocks a side; take a multiple of 16"
        )
    return sizes


def grid_costs(
    images: Tensor,
    saliency: Tensor,
    partners: Tensor,
    beta: float,
    gamma: float,
    neighbourhood: int,
) -> GridCosts:
    """Return the costs of images x and partners x' on a grid of blocks.

    D_uv of two neighbours is how much u's last ``neighbourhood`` px of the first block differ from
    v's first of the second, × γβ/16n: the mean over colours and along the seam of absolute
    differences of pooled pixels.

    Args:
        images: x in [0, 1], [B, 3, H, W].
        saliency: Of the blocks, each map of sum 1, [B, n, n].
        partners: int64 [B], rows of the batch.
        beta, gamma, neighbourhood: As in `PuzzleMixAugmentation`.
    """
    size = saliency.shape[1]
    tall, wide = (_largest_divisor(length // size, neighbourhood) for length in images.shape[-2:])
    pooled = F.avg_pool2d(images, (tall, wide))
    unit = beta / (16 * size)
    own, other = saliency.clone(), saliency[partners]
    down = unit + _add_seams(pooled, partners, own, other, gamma * unit)
    # Seams between columns are those between rows of the transposed grids, which are views.
    turned = own.transpose(1, 2), other.transpose(1, 2)
    right = unit + _add_seams(pooled.transpose(2, 3), partners, *turned, gamma * unit)
    return GridCosts(own, other, down, right.transpose(1, 2))


def _add_seams(
    pooled: Tensor, partners: Tensor, losing_own: Tensor, losing_other: Tensor, weight: float
) -> Tensor:
    """Add the seams between rows of blocks to both costs, in place; return w less β/16n.

    Args:
        pooled: Pixels x [B, 3, h, w], of which a block has a whole number.
        partners: int64 [B].
        losing_own, losing_other: [B, n, n].
        weight: γβ/16n.
    """
    size = losing_own.shape[1]
    pixels = pooled.shape[2] // size
    last, first = pooled[:, :, pixels - 1 :: pixels][:, :, :-1], pooled[:, :, ::pixels][:, :, 1:]

    def seams(above: Tensor, below: Tensor) -> Tensor:
        columns = (above - below).abs().mean(dim=1)
        return weight * columns.unflatten(2, (size, -1)).mean(dim=3)

    own = seams(last, first)
    other = own[partners]
    own_above, other_above = seams(last, first[partners]), seams(last[partners], first)
    losing_other[:, :-1] += (own_above + own) / 2
    losing_own[:, :-1] += (other_above + other) / 2
    losing_other[:, 1:] += (other_above + own) / 2
    losing_own[:, 1:] += (own_above + other) / 2
    return (own_above + other_above - own - other) / 2


def prior_costs(levels: int, share: float) -> Floats:
    """Return −log(C(L − 1, l) λ^(L − 1 − l) (1 − λ)^l + 1e-8), [L], for z from 0 to 1.

    l = (L − 1)(1 − z) and λ is the ``share``: with η/n² the prior of `PuzzleMixAugmentation`.
    """
    last = levels - 1
    chances = [math.comb(last, k) * share**k * (1 - share) ** (last - k) for k in range(levels)]
    return -np.log(np.array(chances) + 1e-8)


def _enlarged(blocks: Tensor, tall: int, wide: int) -> Tensor:
    """Return [B, n tall, m wide] of ``blocks`` [B, n, m]."""
    return blocks.repeat_interleave(tall, dim=1).repeat_interleave(wide, dim=2)


def _divides(blocks: int, images: Tensor) -> bool:
    return not any(length % blocks for length in images.shape[-2:])


def _largest_divisor(length: int, most: int) -> int:
    return max(k for k in range(1, min(most, length) + 1) if length % k == 0)
