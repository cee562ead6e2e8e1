"""Seeds of a run, and of what the network itself draws."""

from __future__ import annotations

import numpy as np
import torch

from uda.compute.distributed import rank


def seed_of(*parts: int) -> int:
    """Return a 63-bit seed made of non-negative integers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def seed_network(device: torch.device, *parts: int) -> None:
    """Seed what a network itself draws on ``device`` (dropout, stochastic depth).

    The seed is made of ``parts``, non-negative integers, and the rank, as each rank has other rows
    of a batch. Called before each step with the run's seed and the step: then neither what the
    process has done before nor a restart changes a run. The generators of other devices stay as
    they are.
    """
    seed = seed_of(*parts, rank())
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs too
    else:
        module = torch.get_device_module(device)
        getattr(module, "manual_seed_all", module.manual_seed)(seed)
