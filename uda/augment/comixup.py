"""Co-Mixup as a training augmentation: a batch shares its salient parts out among its images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from uda.augment.cuts import Floats
from uda.augment.expansions import cheapest_labels
from uda.augment.look import Look, LookingAugmentation
from uda.augment.saliency import gradient_saliency, normalised

BLOCKS = 4  # a side
CELLS = BLOCKS**2
WINDOW_PX = 8  # of the most salient part of an image, by which images are far or near
HALF_BONUS = 5e-4  # a label "half of each" is as much cheaper than the mean of the two
HALF_SMOOTHNESS = 0.25  # between "half of each" and its inputs, where it is 1 between others
STILL = 1e-6  # relative change of the objective at which the rounds end


class CoMixupAugmentation(LookingAugmentation):
    """Co-Mixup (arXiv 2102.03065), its mixing alone.

    Each image of a part of the batch becomes a grid of 4 × 4 blocks, of which each shows one of
    the part's images, or two by halves: z. The shares z are to minimise

        Σ c z + β/32 Σ over neighbours of |z − z'|² + γ/16 Σ over outputs i ≠ j of n_i A n_j,

    c being what an image loses if a block of it is not shown (its saliency, and ``eta`` times a
    prior of how often images are shown, drawn from a Dirichlet distribution of ``alpha``), and n_i
    the numbers of blocks that output i shows of each image: outputs are to differ. An image counts
    only where A Σ n_j over the others exceeds ``threshold`` of a grid. A is the identity, but for
    ``omega`` of the distance of the images' most salient windows. Saliency is √(mean of g² over the
    colours), g the gradient of the cross-entropy by the image. From a random start the outputs are
    optimised one after another, in at most ``rounds`` rounds. A batch is mixed with
    ``probability``, in parts of at most ``part`` images; targets are mixed by the shares.

    An output's grid is found by expansion moves of its labels (`uda.augment.expansions`), each the
    best that there is, where the released code swaps labels by graph cuts. Both end in local optima
    that depend on the start and the order, so that results are others, of a like objective. The
    loss on clean images is left out. Raises ValueError naming the option at fault.
    """

    name = "comixup"
    title = "Co-Mixup"

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        beta: float = 0.32,
        gamma: float = 1.0,
        eta: float = 0.05,
        threshold: float = 0.83,
        omega: float = 0.001,
        rounds: int = 4,
        part: int = 20,
        probability: float = 1.0,
    ) -> None:
        super().__init__(probability)
        where = "augment.options.comixup"
        if not 0 < alpha < math.inf:
            raise ValueError(f"{where}.alpha: {alpha} must be positive")
        for key, value in (("beta", beta), ("gamma", gamma), ("eta", eta)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{where}.{key}: {value} must not be negative")
        for key, value in (("threshold", threshold), ("omega", omega)):
            if not 0 <= value <= 1:
                raise ValueError(f"{where}.{key}: {value} is not in 0 to 1")
        for key, number in (("rounds", rounds), ("part", part)):
            if number < 1:
                raise ValueError(f"{where}.{key}: {number} must be at least 1")
        self.alpha, self.beta, self.gamma, self.eta = alpha, beta, gamma, eta
        self.threshold = threshold
        self.omega = omega
        self.rounds = rounds
        self.part = part

    def mix(
        self, images: Tensor, targets: Tensor, rng: np.random.Generator, look: Look
    ) -> tuple[Tensor, Tensor]:
        """Return as many mixed images as there are, and targets by the shares of their blocks."""
        saliency = gradient_saliency(look.gradient(images, targets))
        mixed, mixed_targets = torch.empty_like(images), torch.empty_like(targets)
        for rows in torch.arange(len(images)).split(self.part):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            shares = torch.from_numpy(self._shares(saliency[part], rng)).to(images)
            mixed[part] = show(images[part], shares)
            mixed_targets[part] = shares.mean(dim=(1, 2)).to(targets) @ targets[part]
        return mixed, mixed_targets

    def _shares(self, saliency: Tensor, rng: np.random.Generator) -> Floats:
        """Return z [m, 4, 4, m] of a part's ``saliency`` [m, H, W]."""
        count = len(saliency)
        blocks = normalised(F.adaptive_avg_pool2d(saliency[:, None], BLOCKS)[:, 0])
        chances = rng.dirichlet([self.alpha] * count)
        prior = self.eta / CELLS * np.log(chances + 1e-8)
        costs = -blocks.double().cpu().numpy() - prior[:, None, None]
        near = compatibility(salient_places(saliency), self.omega)
        start = rng.integers(count, size=(count, BLOCKS, BLOCKS))
        return self.solve(costs, near, start)

    def solve(self, costs: Floats, compatibility: Floats, start: NDArray[np.int64]) -> Floats:
        """Return z, the shares [m, 4, 4, m] of the inputs in the outputs' blocks.

        Args:
            costs: c, of showing each input in a block, [m, 4, 4].
            compatibility: A, [m, m].
            start: The inputs that the outputs' blocks show at first, int64 [m, 4, 4].
        """
        by_block = np.moveaxis(costs, 0, -1)
        shares = np.eye(len(costs))[start]
        before = self.objective(shares, costs)
        for number in range(self.rounds):
            is_last_but_one = number == self.rounds - 2
            repelled = _repelled(shares) * is_last_but_one
            for output in range(len(shares)):
                others = shares.sum(axis=(0, 1, 2)) - shares[output].sum(axis=(0, 1))
                crowded = compatibility @ others
                crowded = np.where(crowded > self.threshold * CELLS, crowded, 0)
                weight = self.gamma / CELLS
                single = by_block + weight * (2 * crowded + repelled[output])
                pairs = _pairs_shown(shares[output]) if number else []
                shares[output] = self._output(single, pairs)
            after = self.objective(shares, costs)
            if abs(after - before) <= STILL * abs(before):
                break
            before = after
        return shares

    def _output(self, costs: Floats, pairs: Sequence[tuple[int, int]]) -> Floats:
        """Return an output's shares [4, 4, m] of ``costs`` [4, 4, m].

        Blocks may show each of the ``pairs`` of inputs by halves.
        """
        count = costs.shape[2]
        of_label = np.eye(count)
        smoothness = np.ones((count + len(pairs),) * 2)
        for number, pair in enumerate(pairs, count):
            half = costs[..., list(pair)].mean(axis=2, keepdims=True) - HALF_BONUS
            costs = np.concatenate([costs, half], axis=2)
            of_label = np.concatenate([of_label, of_label[list(pair)].mean(axis=0, keepdims=True)])
            smoothness[number, list(pair)] = smoothness[list(pair), number] = HALF_SMOOTHNESS
        np.fill_diagonal(smoothness, 0)
        shares: Floats = of_label[cheapest_labels(costs, self.beta / CELLS * smoothness)]
        return shares

    def objective(self, shares: Floats, costs: Floats) -> float:
        """Return what the rounds lower, without threshold and compatibility.

        Args:
            shares: z, [m, 4, 4, m].
            costs: c, [m, 4, 4].
        """
        shown = float((shares * np.moveaxis(costs, 0, -1)).sum())
        seams = sum(float((np.diff(shares, axis=axis) ** 2).sum()) for axis in (1, 2))
        counts = shares.sum(axis=(1, 2))
        overlap = float((counts.sum(axis=0) ** 2).sum() - (counts**2).sum())
        return shown + self.beta / (2 * CELLS) * seams + self.gamma / CELLS * overlap


def salient_places(saliency: Tensor) -> NDArray[np.int64]:
    """Return row and column, [m, 2], of the most salient window of each map [m, H, W]."""
    window = [min(WINDOW_PX, length) for length in saliency.shape[-2:]]
    means = F.avg_pool2d(saliency[:, None], window, stride=1)[:, 0]
    best = means.flatten(1).argmax(dim=1).cpu().numpy()
    return np.stack(np.divmod(best, means.shape[2]), axis=1)


def compatibility(places: NDArray[np.int64], omega: float) -> Floats:
    """Return A = (1 − ω) I + ω D m / Σ D, D the L1 distances of m ``places`` [m, 2]."""
    distances = np.abs(places[:, None] - places[None]).sum(axis=2).astype(np.float64)
    count = len(places)
    even = count / max(float(distances.sum()), 1.0)  # without any distance nothing is added
    matrix: Floats = (1 - omega) * np.eye(count) + omega * even * distances
    return matrix


def show(images: Tensor, shares: Tensor) -> Tensor:
    """Return mixed images [m, 3, H, W] whose blocks show ``images`` by ``shares`` [m, 4, 4, m]."""
    mixed = torch.empty_like(images)
    rows, columns = (
        [-(-length * k // BLOCKS) for k in range(BLOCKS + 1)] for length in images.shape[-2:]
    )
    for i in range(BLOCKS):
        for j in range(BLOCKS):
            block = images[:, :, rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
            shown = (shares[:, i, j] @ block.flatten(1)).view(block.shape)
            mixed[:, :, rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = shown
    return mixed


def _pairs_shown(shares: Floats) -> list[tuple[int, int]]:
    """Return the pairs that an output [4, 4, m] may show by halves: of the most shown three."""
    counts = shares.sum(axis=(0, 1))
    most = [int(k) for k in np.argsort(-counts, kind="stable")[:3] if counts[k] > 0]
    return [(a, b) for number, a in enumerate(most) for b in most[number + 1 :]]


def _repelled(shares: Floats) -> Floats:
    """Return how much dearer inputs become to outputs that show the same several, [m, m].

    Of two such outputs the first is kept from the first input, the other from the second.
    """
    counts = shares.sum(axis=(1, 2)) > 0
    dearer = np.zeros(counts.shape)
    for first in range(len(counts)):
        inputs = np.flatnonzero(counts[first])
        for second in range(first + 1, len(counts)):
            if len(inputs) > 1 and np.array_equal(counts[first], counts[second]):
                dearer[first, inputs[0]] = dearer[second, inputs[1]] = 1
    return dearer
