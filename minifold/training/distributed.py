"""Several processes that train one model: started by ``torchrun``, one for each GPU.

    torchrun --nproc-per-node 2 -m minifold train --preset mini --data toy --minutes 30

Each process computes the gradients of its share of a batch. AlphaFold2 clips the gradient of
every example *before* it averages (supplement 1.11.3). PyTorch's DistributedDataParallel averages
inside the backward pass, before anything could be clipped, so the sum is taken here, after it.
Without torchrun there is one process and all functions do nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, and leave them at the end.

    Gives the device of this process.
    """
    started = "LOCAL_RANK" in os.environ  # by torchrun
    if started and device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if started:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        if started:
            dist.destroy_process_group()


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process; number 0 writes the files and talks."""
    return dist.get_rank() if _joined() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _joined() else 1


def sum_over_processes(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, in one exchange."""
    if not _joined():
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
        tensor.copy_(total.view_as(tensor))


def mean_over_processes(values: Sequence[float], device: torch.device) -> list[float]:
    """The mean of each number over all processes: the same numbers everywhere."""
    if not _joined():
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return (total / world()).tolist()
