"""One run on several processes (torchrun, accelerate launch): batches and banks divided, results
the same as one process's within rounding.

Each process passes its share of a batch through the network, then gathers what all of them got,
so every process computes the same loss of the whole batch. In one process nothing here does
anything.
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
# The first process may make a large data set's edits, or a t-SNE, while the others wait.
PATIENCE = timedelta(days=7)


def join(name: str) -> None:
    """Join the other processes of this run, if the environment tells of any.

    ``name``: the device, as in `own_device`. Only the first process keeps its standard output.
    ValueError where the device cannot be had so often, or fewer processes run than were asked for.
    """
    check_environment(os.environ)
    world = int(os.environ.get("WORLD_SIZE", 1))
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
            f"WORLD_SIZE asks for {world} processes and {state.num_processes} came together; start "
            f"them with torchrun --nproc_per_node {world} -m uda.cli …"
        )
    if is_main():
        print(f"{world} processes, one run, on {kind}", flush=True)
    else:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def check_environment(environment: Mapping[str, str]) -> None:
    """ValueError where a launcher was asked for several processes and started one."""
    # `accelerate launch --cpu --num_processes 2` starts a single one. It tells how many it was
    # asked for only by setting an address for them to meet at.
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in environment
    if by_accelerate and "MASTER_ADDR" in environment and "WORLD_SIZE" not in environment:
        raise ValueError(
            "accelerate launch was asked for several processes and started one, as it does on "
            "CPUs; use torchrun --nproc_per_node N -m uda.cli …"
        )


def finish() -> None:
    """Part from the other processes once all of them have come this far."""
    if count() > 1:
        wait()
        dist.destroy_process_group()


def count() -> int:
    """How many processes work on this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if count() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes and prints."""
    return rank() == 0


def wait() -> None:
    """Wait until all processes are here."""
    if count() > 1:
        dist.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """The block runs in the first process, then in the others, which find what it has made."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def from_main(make: Callable[[], Value], device: torch.device) -> Value:
    """What ``make`` returns in the first process, in all of them, its tensors on ``device``.

    The first one alone calls it: what hangs on rounding (a number of clusters) comes out the same.
    """
    if count() == 1:
        return make()
    parcel: list[Any] = [None]
    if is_main():
        buffer = io.BytesIO()
        torch.save(make(), buffer)
        parcel = [buffer.getvalue()]
    dist.broadcast_object_list(parcel, src=0)
    # Unpickles code, but of this run's own process, not of a file.
    return torch.load(io.BytesIO(parcel[0]), map_location=device, weights_only=False)


def check_batch(key: str, batch_size: int) -> None:
    """ValueError naming ``key`` where the processes cannot share a batch evenly."""
    if batch_size % count():
        raise ValueError(
            f"{key}: {batch_size} images cannot be shared evenly by {count()} processes; take a "
            f"multiple of {count()}"
        )


def share(batch: Tensor) -> Tensor:
    """This process's rows of ``batch`` [B, …], B a multiple of the processes."""
    return batch.chunk(count())[rank()] if count() > 1 else batch


def gather(own: Tensor) -> Tensor:
    """All processes' ``own`` [B / processes, …], in order [B, …]: `share` undone.

    The gradient stays each process's own: it is that of the one loss of the whole batch, of which
    all of them hold copies, with respect to its own rows. `sum_gradients` adds them up.
    """
    return _Gather.apply(own) if count() > 1 else own


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        own = own.contiguous()
        parts = [torch.empty_like(own) for _ in range(count())]
        dist.all_gather(parts, own)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return share(grad)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over the processes, all of them in one message.

    A sum, not DDP's mean: each process holds its rows' part of the gradient of one loss (`gather`),
    not the gradient of a loss of its own.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if count() == 1 or not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def run_of(number: int) -> tuple[int, int]:
    """First and one past the last of ``number`` pieces that are this process's, a run of them."""
    return number * rank() // count(), number * (rank() + 1) // count()


def joined(
    own: Sequence[Tensor], first: int, shape: tuple[int, int], device: torch.device
) -> Tensor:
    """float32 of ``shape`` [N, D], of which this process brings the rows ``own`` from ``first`` on.

    Together the processes bring every row once; one of them may bring none.
    """
    if count() == 1:
        return torch.cat(list(own))
    whole = torch.zeros(shape, device=device)
    for rows in own:
        whole[first : first + len(rows)] = rows
        first += len(rows)
    dist.all_reduce(whole)  # adds zeros, which changes nothing
    return whole
