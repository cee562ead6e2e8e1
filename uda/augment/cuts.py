"""Masks of least energy by minimum cuts."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNITS = 2**30  # of all costs together: SciPy's capacities are 32-bit integers


def least_energy_levels(costs: Floats, down: Floats, right: Floats) -> NDArray[np.int64]:
    """Return the levels l, int64 [B, n, n], of the least energy of each of B grids.

    The energy is Σ costs[p, l_p] + Σ over neighbours p, q of w (l_p − l_q)² / (L − 1)². As it is
    convex in the difference of levels, one minimum cut gives its least value (Ishikawa, PAMI 2003):
    a cell has a node for each step between levels, and l_p counts those on the source's side.

    Args:
        costs: Of each level, [B, n, n, L]; L is at least 2.
        down: w of each cell and the one below, positive, [B, n − 1, n].
        right: w of each cell and the one at its right, positive, [B, n, n − 1].
    """
    # SciPy's graph routines take half a second to import.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    count, size, _, num_levels = costs.shape
    steps, cells = num_levels - 1, size * size
    first, second = _neighbours(count, size)
    weights = np.concatenate([down.ravel(), right.ravel()]) / steps**2
    # w (l − l')² is a sum over pairs of nodes, but for these terms of single levels.
    of_cell = np.bincount(first, weights, count * cells)
    of_cell += np.bincount(second, weights, count * cells)
    level = np.arange(num_levels)
    terms = costs.reshape(-1, num_levels) + of_cell[:, None] * (level**2 - steps * level)
    terms = terms - terms.min(axis=1, keepdims=True)
    unit = UNITS / max(float(terms.sum()), float(weights.max(initial=0.0)), np.finfo(float).tiny)
    capacities = np.concatenate(
        [
            (terms * unit).T.ravel(),
            np.full((steps - 1) * count * cells, UNITS),
            np.tile(weights * unit, 2 * steps**2),
        ]
    )
    tails, heads = _edges(count, size, steps)
    num_nodes = count * cells * steps + 2
    graph = csr_array(
        (np.rint(capacities).astype(np.int32), (tails, heads)), shape=(num_nodes, num_nodes)
    )
    residual = graph - maximum_flow(graph, num_nodes - 2, num_nodes - 1).flow
    residual.eliminate_zeros()
    reached = np.zeros(num_nodes, bool)
    reached[breadth_first_order(residual, num_nodes - 2, return_predecessors=False)] = True
    levels: NDArray[np.int64] = reached[:-2].reshape(steps, count, size, size).sum(axis=0)
    return levels


def energy(
    levels: NDArray[np.int64], costs: Floats, down: Floats, right: Floats
) -> NDArray[np.float64]:
    """Return the energies [B] of `least_energy_levels`."""
    single = np.take_along_axis(costs, levels[..., None], axis=3).sum(axis=(1, 2, 3))
    height = levels / (costs.shape[3] - 1)
    pairs = (down * np.diff(height, axis=1) ** 2).sum(axis=(1, 2))
    total: Floats = single + pairs + (right * np.diff(height, axis=2) ** 2).sum(axis=(1, 2))
    return total


def _neighbours(count: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the two cells of each pair of neighbours, those below each other first."""
    cell = np.arange(count * size * size).reshape(count, size, size)
    first = [cell[:, :-1].ravel(), cell[:, :, :-1].ravel()]
    second = [cell[:, 1:].ravel(), cell[:, :, 1:].ravel()]
    return np.concatenate(first), np.concatenate(second)


@cache
def _edges(count: int, size: int, steps: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return tails and heads of the edges, in the order of `least_energy_levels`'s capacities.

    Nodes are numbered by step, then by cell; then come the source and the sink.
    """
    cells = np.arange(count * size * size)
    number = len(cells)
    source, sink = number * steps, number * steps + 1
    nodes = [cells + step * number for step in range(steps)]
    ends = [np.full(number, source), *nodes, np.full(number, sink)]
    # Level l costs the edge between the l-th and the next end. Edges back keep the nodes in order.
    tails, heads = ends[:-1] + nodes[1:], ends[1:] + nodes[:-1]
    first, second = _neighbours(count, size)
    for one in range(steps):
        for other in range(steps):
            tails += [first + one * number, second + other * number]
            heads += [second + other * number, first + one * number]
    return np.concatenate(tails).astype(np.int32), np.concatenate(heads).astype(np.int32)
