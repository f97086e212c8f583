"""Processes that train one network together, as `torchrun` starts them.

Each sends its share of a batch's rows through encoders and decoders, and all of them see all outputs. What follows, the
aggregation and the losses, is the same in each, so that the mean of their gradients is the gradient of the whole batch
in one process, contrasts between cells and all, and the replicas stay equal to the bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from jamie._errors import InvalidValueError
from jamie._settings import note_rank, world_size

from ._chance import own_generator

MEETING = 300
"""Seconds after which a process that finds no others gives up: all were started at once, and have read the same."""
START = "start them with torchrun, or unset WORLD_SIZE to train in this one alone"


def n_ranks() -> int:
    """How many processes train together; 1 without `torch.distributed`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def joined(device: torch.device) -> Iterator[int]:
    """Meet the processes that `torchrun` started, if it did, say how many there are, and leave them at the end.

    A group that the caller made is used and left as it is; one that is made here is ended here, after an error too.
    Only `WORLD_SIZE` says that there are others: `RANK` by itself changes nothing.
    It must not outlive the training: a process that exits with threads of gloo alive is aborted, and processes that go
    on by themselves would wait for each other in the network.
    """
    n = world_size()
    if n == 1 or not dist.is_available() or dist.is_initialized():
        yield n_ranks()
        return
    backend, rank = "nccl" if device.type == "cuda" else "gloo", _rank(n)
    try:
        store = dist.PrefixStore(f"jamie/{next(_meetings)}", _addresses())
        dist.init_process_group(backend, store=store, rank=rank, world_size=n)
    except (RuntimeError, ValueError, OSError) as error:
        found = " ".join(str(error).split())[:200]
        msg = f"expected {n} processes that train together in {MEETING} s, as WORLD_SIZE says, found: {found}; {START}"
        raise InvalidValueError(msg) from error
    note_rank(rank)
    try:
        yield n_ranks()
        dist.all_reduce(torch.zeros(1, device=device))  # who leaves first would cut off who still reads
    finally:
        dist.destroy_process_group()


_meetings = count()  # each training has addresses of its own: those of the last may still be in the store


@cache
def _addresses() -> dist.Store:
    """Where the processes find each other, kept to the end: the one that hosts it may be the first to leave."""
    store, *_ = next(dist.rendezvous("env://", timeout=timedelta(seconds=MEETING)))
    return store


def _rank(n: int) -> int:
    """Which of `n` processes this one is."""
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        msg = f"expected {', '.join(missing)} in the environment beside WORLD_SIZE={n}, found none; {START}"
        raise InvalidValueError(msg)
    rank = os.environ["RANK"]
    if not rank.isdigit() or int(rank) >= n:
        msg = f"expected RANK from 0 to {n - 1} beside WORLD_SIZE={n}, found {rank!r}; {START}"
        raise InvalidValueError(msg)
    return int(rank)


def own_noise() -> None:
    """Draw dropout and latents unlike the other processes from here on."""
    if n_ranks() > 1:
        own = own_generator(torch.device("cpu"))
        if own is not None:
            own.manual_seed(own.initial_seed() + dist.get_rank())
        torch.manual_seed(torch.initial_seed() + dist.get_rank())


def over_ranks(compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`compute` rows (..., n, p) → (..., n, q), each process its share of them; all get all."""
    n = n_ranks()
    if n == 1:
        return compute(x)
    sizes = [part.shape[-2] for part in x.tensor_split(n, dim=-2)]
    return _Gather.apply(compute(_Scatter.apply(x, sizes)), sizes)


def average_over_ranks(gradient: Tensor) -> None:
    """Give every process the mean of all gradients, in place."""
    n = n_ranks()
    if n > 1:
        dist.all_reduce(gradient)
        gradient.div_(n)


def copy_from_first(network: nn.Module) -> None:
    """Give every process the weights of the first, where machines round differently."""
    if n_ranks() > 1:
        for value in network.state_dict().values():
            dist.broadcast(value, 0)


class _Scatter(torch.autograd.Function):
    """The rows of this process; its gradient is put together from all."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        return x.split(sizes, dim=-2)[dist.get_rank()].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _gathered(gradient, ctx.sizes) / len(ctx.sizes), None


class _Gather(torch.autograd.Function):
    """Rows of all processes, one after the other.

    The loss of the gathered rows is the same in all, so that the gradient of a process' own rows is there already; it
    is multiplied by the number of processes, for the mean of gradients divides by it.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        return _gathered(part, sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.split(ctx.sizes, dim=-2)[dist.get_rank()] * len(ctx.sizes), None


def _gathered(part: Tensor, sizes: list[int]) -> Tensor:
    padded = part.new_zeros(*part.shape[:-2], max(sizes), part.shape[-1])
    padded[..., : part.shape[-2], :] = part
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([rows[..., :size, :] for rows, size in zip(parts, sizes, strict=True)], dim=-2)
