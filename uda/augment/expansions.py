"""Labels of small grids, by the best of all expansion moves until none helps."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GAIN = 1e-12  # the least by which a move must lower the energy


def cheapest_labels(costs: Floats, smoothness: Floats) -> NDArray[np.int64]:
    """Return labels [h, w] of a low energy: no expansion move lowers it.

    The energy is Σ costs[p, l_p] + Σ over neighbours of smoothness[l, l']. Starting from each
    cell's cheapest label, a move lets any set of cells take one label, and the best set and label
    are found exactly: by dynamic programming over the rows, in each of which 2^w sets are possible.
    It takes the moves of α-expansion (Boykov, Veksler and Zabih, PAMI 2001), whose cuts need the
    smoothness to be a metric; this does not.

    Args:
        costs: Of each label, [h, w, L]; w is small.
        smoothness: Symmetric and zero on the diagonal, [L, L].
    """
    labels = costs.argmin(axis=2)
    current = labels_energy(labels, costs, smoothness)
    while True:
        label, takes = _best_move(labels, costs, smoothness)
        moved = np.where(takes, label, labels)
        lower = labels_energy(moved, costs, smoothness)
        if not lower < current - GAIN:
            return labels
        labels, current = moved, lower


def labels_energy(labels: NDArray[np.int64], costs: Floats, smoothness: Floats) -> float:
    """Return the energy of `cheapest_labels`."""
    single = np.take_along_axis(costs, labels[..., None], axis=2).sum()
    down = smoothness[labels[:-1], labels[1:]].sum()
    return float(single + down + smoothness[labels[:, :-1], labels[:, 1:]].sum())


def _best_move(
    labels: NDArray[np.int64], costs: Floats, smoothness: Floats
) -> tuple[int, NDArray[np.bool_]]:
    """Return the label, and the cells bool [h, w] that take it, of the least energy."""
    height, width = labels.shape
    single_of, pair_of, taking = _sets(width)
    # For each label to take: what each cell costs if it stays and if it takes it, [L, h, w, 2].
    stays = np.take_along_axis(costs, labels[..., None], axis=2)
    single = np.stack(np.broadcast_arrays(stays, costs), axis=-1).transpose(2, 0, 1, 3)
    # And each pair of neighbours, [L, …, 4]: both stay, the second takes, the first takes, both.
    right = _pair_costs(labels[:, :-1], labels[:, 1:], smoothness)
    down = _pair_costs(labels[:-1], labels[1:], smoothness)
    row = single.reshape(*single.shape[:2], -1) @ single_of
    row += right.reshape(*right.shape[:2], len(pair_of)) @ pair_of
    count = taking.shape[0]
    between = down.reshape(*down.shape[:2], 4 * width) @ _between(width)
    between = between.reshape(*between.shape[:2], count, count)
    best, choices = row[:, 0], []
    for number in range(height - 1):
        through = best[:, :, None] + between[:, number]
        choices.append(through.argmin(axis=1))
        best = through.min(axis=1) + row[:, number + 1]
    label, chosen = np.unravel_index(int(best.argmin()), best.shape)
    sets = [int(chosen)]
    for choice in reversed(choices):
        sets.append(int(choice[label, sets[-1]]))
    return int(label), taking[sets[::-1]]


def _pair_costs(first: NDArray[np.int64], second: NDArray[np.int64], smoothness: Floats) -> Floats:
    """Return [L, h, w, 4] for each label that cells of pairs with these labels may take."""
    both = np.broadcast_to(smoothness[first, second], (len(smoothness), *first.shape))
    return np.stack(
        [both, smoothness[:, first], smoothness[:, second], np.zeros_like(both)], axis=-1
    )


@cache
def _sets(width: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return for each set of a row's cells which costs it has, and its cells bool [2^w, w].

    The first, [2 w, 2^w], is of single cells; the second, [4 (w − 1), 2^w], of neighbours.
    """
    taking = (np.arange(2**width)[:, None] >> np.arange(width)) & 1
    single = np.stack([1 - taking, taking], axis=2).reshape(len(taking), -1).T
    kinds = np.eye(4)[2 * taking[:, :-1] + taking[:, 1:]].reshape(len(taking), -1).T
    return single.astype(np.float64), kinds, taking.astype(bool)


@cache
def _between(width: int) -> Floats:
    """Return which costs of pairs, [4 w, 2^w · 2^w], two sets in rows below each other have."""
    _, _, taking = _sets(width)
    kinds = 2 * taking[:, None].astype(int) + taking[None].astype(int)
    of_pair: Floats = np.eye(4)[kinds].reshape(len(taking) ** 2, -1).T
    return of_pair
