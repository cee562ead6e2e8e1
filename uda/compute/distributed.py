"""A run on several ranks (torchrun, accelerate launch), equal to a single rank's within rounding.

Each rank passes its share of a batch through the network, then gathers the features and logits of
all, so that every rank computes the same loss of the whole batch. With a single process the
functions of this module change nothing.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

Value = TypeVar("Value")

# The first rank may make a large dataset's edits, or a t-SNE, while the others wait.
PATIENCE = timedelta(days=7)


def join(name: str) -> None:
    """Join the other ranks of this run, if the environment names any.

    Only the first rank keeps its standard output.

    Args:
        name: The device, as in `uda.compute.devices.device_of_rank`.

    Raises:
        ValueError: Fewer devices than processes, or fewer processes run than were asked for.
    """
    check_environment(os.environ)
    world = int(os.environ.get("WORLD_SIZE") or 1)
    if world == 1 or count() > 1:
        return
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device: {name!r} with {world} processes; say auto, cpu or cuda")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if kind == "cuda" and (gpus := torch.cuda.device_count()) < local:
        raise ValueError(
            f"device: {local} processes on a machine with {gpus} GPUs; start one process a GPU, or "
            "say --device cpu"
        )

    from accelerate import PartialState

    state = PartialState(cpu=kind == "cpu", timeout=PATIENCE)
    if state.num_processes != world:
        raise ValueError(
            f"WORLD_SIZE asks for {world} processes and only {state.num_processes} joined; start "
            f"them with torchrun --nproc_per_node {world} -m uda.cli …"
        )
    if is_main():
        print(f"{world} processes, one run, on {kind}", flush=True)
    else:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise ValueError where a launcher started one process although it was asked for several."""
    # `accelerate launch --cpu --num_processes 2` starts a single process. That it was asked for
    # more shows only in the address that it sets for them to meet at.
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in environment
    if by_accelerate and "MASTER_ADDR" in environment and "WORLD_SIZE" not in environment:
        raise ValueError(
            "accelerate launch was asked for several processes and started one, as it does on "
            "CPUs; use torchrun --nproc_per_node N -m uda.cli …"
        )


def finish() -> None:
    """Leave the process group once all ranks have called this."""
    if count() > 1:
        wait()
        dist.destroy_process_group()


def count() -> int:
    """Return the number of ranks."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's rank, from 0."""
    return dist.get_rank() if count() > 1 else 0


def is_main() -> bool:
    """Return whether this is the rank that writes and prints."""
    return rank() == 0


def wait() -> None:
    """Wait until all ranks have called this."""
    if count() > 1:
        dist.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block in the first rank, then in the others, which read what it has made."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def from_main(make: Callable[[], Value], device: torch.device) -> Value:
    """Return in all ranks what ``make`` returns in the first, its tensors on ``device``.

    Only the first rank calls it: what depends on rounding (a number of clusters) is then equal.
    """
    if count() == 1:
        return make()
    parcel: list[Any] = [None]
    if is_main():
        buffer = io.BytesIO()
        torch.save(make(), buffer)
        parcel = [buffer.getvalue()]
    dist.broadcast_object_list(parcel, src=0)
    # Unpickles code, but of this run's first rank, not of a file.
    return torch.load(io.BytesIO(parcel[0]), map_location=device, weights_only=False)


def check_batch(key: str, batch_size: int) -> None:
    """Raise ValueError naming ``key`` where the ranks cannot share a batch evenly."""
    if batch_size % count():
        raise ValueError(
            f"{key}: {batch_size} images cannot be shared evenly by {count()} processes; take a "
            f"multiple of {count()}"
        )


def share(batch: Tensor) -> Tensor:
    """Return this rank's rows of ``batch`` [B, …], B a multiple of the number of ranks."""
    return batch.chunk(count())[rank()] if count() > 1 else batch


def gather(rows: Tensor) -> Tensor:
    """Return all ranks' ``rows`` [B / ranks, …] in order, [B, …]: the inverse of `share`.

    Every rank computes the whole batch's loss; its gradient flows back to the rank's rows alone,
    and `sum_gradients` adds up the ranks' parts.
    """
    return _Gather.apply(rows) if count() > 1 else rows


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(count())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return share(grad)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over the ranks, all in one message.

    A sum, not DDP's mean: each rank has the part of a single loss's gradient that goes through its
    rows (`gather`), not the gradient of a loss of its rows.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if count() == 1 or not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def span_of(number: int) -> tuple[int, int]:
    """Return the first and the end of the range, of ``number`` pieces, that this rank computes."""
    return number * rank() // count(), number * (rank() + 1) // count()


def gather_rows(
    parts: Sequence[Tensor], first: int, shape: tuple[int, int], device: torch.device
) -> Tensor:
    """Return float32 of ``shape`` [N, D] from all ranks' rows.

    This rank brings ``parts``, from row ``first`` on. Together the ranks bring every row once; a
    rank may bring none.
    """
    if count() == 1:
        return torch.cat(list(parts))
    whole = torch.zeros(shape, device=device)
    for rows in parts:
        whole[first : first + len(rows)] = rows
        first += len(rows)
    dist.all_reduce(whole)  # adds zeros, which changes nothing
    return whole
