"""Processes that train one network together, as `torchrun` starts them.

Each sends its share of a batch's rows through encoders and decoders, and all of them see all outputs. What follows, the
aggregation and the losses, is the same in each, so that the mean of their gradients is the gradient of the whole batch
in one process, contrasts between cells and all, and the replicas stay equal to the bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


def n_ranks() -> int:
    """How many processes train together; 1 without `torch.distributed`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def join(device: torch.device) -> int:
    """Meet the processes that `torchrun` started, if it did, and say how many there are."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return n_ranks()


def own_noise() -> None:
    """Draw dropout and latents unlike the other processes from here on."""
    if n_ranks() > 1:
        torch.manual_seed(torch.initial_seed() + dist.get_rank())


def over_ranks(compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`compute` rows (n, p) → (n, q), each process its share of them; all get all."""
    n = n_ranks()
    if n == 1:
        return compute(x)
    sizes = [len(part) for part in x.tensor_split(n)]
    return _Gather.apply(compute(_Scatter.apply(x, sizes)), sizes)


def average_gradients(network: nn.Module) -> None:
    """Give every process the mean of all gradients."""
    n = n_ranks()
    if n == 1:
        return
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, (flat / n).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


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
        return x.split(sizes)[dist.get_rank()].clone()

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
        return gradient.split(ctx.sizes)[dist.get_rank()] * len(ctx.sizes), None


def _gathered(part: Tensor, sizes: list[int]) -> Tensor:
    padded = part.new_zeros(max(sizes), *part.shape[1:])
    padded[: len(part)] = part
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([rows[:size] for rows, size in zip(parts, sizes, strict=True)])
