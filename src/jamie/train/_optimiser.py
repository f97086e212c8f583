"""AdamW on all weights as one vector, with clipping and the running average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jamie.nn import average_over_ranks

BETAS = (0.9, 0.999)
EPS = 1e-8


class FlatAdamW:
    """AdamW of torch, step for step, on one vector: a dozen calls a step, where torch makes several per weight.

    The weights of the network become views of the vector. A weight that no loss depends on decays all the same.
    Networks side by side have a vector each, and are clipped each by itself. What changes with the step is a tensor: a
    step that is replayed as a CUDA graph reads it anew. A network whose loss or gradient is not finite stays as it was,
    which the device decides, so that nobody waits for it.
    """

    def __init__(self, network: nn.Module, *, weight_decay: float, clip: float, n_networks: int = 1) -> None:
        self.weights, self._parameters = flattened(network, n_networks), list(network.parameters())
        self._gradient, self._first, self._second = (torch.zeros_like(self.weights) for _ in range(3))
        self._weight_decay, self._clip = weight_decay, clip
        self._betas = self.weights.new_tensor([1 - BETAS[0], BETAS[1]])

    def factors(self, rate: float, step: int) -> list[float]:
        """Numbers that `step` takes, for a learning rate and the number of the step, from 1."""
        corrected = 1 - BETAS[0] ** step, 1 - BETAS[1] ** step
        return [1 - rate * self._weight_decay, -rate / corrected[0], corrected[1] ** -0.5]

    def step(self, losses: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        """Move the weights of each network down its loss, unless that or its gradient is not finite.

        Of processes that train together each moves by the mean of their gradients. Returns the norm that each gradient
        had before it was clipped, (e, 1), and which networks moved, (e, 1) bool.
        """
        slopes = torch.autograd.grad(losses.sum(), self._parameters, materialize_grads=True)
        gradient = self._gradient
        torch.cat([slope.reshape(len(gradient), -1) for slope in slopes], dim=1, out=gradient)
        average_over_ranks(gradient)
        return self._move(gradient, factors, losses.detach())

    @torch.no_grad()
    def _move(self, gradient: Tensor, factors: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
        decayed, rate, correction = factors.unbind()
        norm = gradient.norm(dim=1, keepdim=True)
        moves = norm.isfinite() & losses.isfinite().reshape(-1, 1)
        gradient.mul_(_where(moves, (self._clip / (norm + 1e-6)).clamp_max(1), 0)).nan_to_num_(0, 0, 0)
        self._first.lerp_(gradient, _where(moves, self._betas[0], 0))
        self._second.mul_(_where(moves, self._betas[1], 1)).addcmul_(gradient, gradient, value=1 - BETAS[1])
        spread = self._second.sqrt().mul_(correction).add_(EPS)
        self.weights.mul_(_where(moves, decayed, 1)).addcmul_(self._first.div(spread), _where(moves, rate, 0))
        return norm, moves

    def state(self) -> dict[str, Tensor]:
        """Running means of the gradient and of its square, (e, p) each, as they are now."""
        return {"first": self._first, "second": self._second}


def _where(moves: Tensor, moved: Tensor, stays: float) -> Tensor:
    """A factor for each network, (e, 1): that of a step, or the one by which nothing changes."""
    return torch.where(moves, moved, stays)


def flattened(network: nn.Module, n_networks: int = 1) -> Tensor:
    """Make the weights of a network views of one matrix, and return it, (e, p).

    Each weight of several networks side by side has their number as its first dimension.
    """
    parameters = list(network.parameters())
    weights = torch.cat([parameter.detach().reshape(n_networks, -1) for parameter in parameters], dim=1)
    values = weights.split([parameter.numel() // n_networks for parameter in parameters], dim=1)
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data = value.view(parameter.shape)
    return weights


def separated(network: nn.Module) -> None:
    """Give every weight memory of its own again."""
    for parameter in network.parameters():
        parameter.data = parameter.detach().clone()


class RunningAverage:
    """A copy of a network that follows its weights, and the statistics of its layers, a step behind."""

    def __init__(self, average: nn.Module, network: nn.Module, weights: Tensor) -> None:
        self._average = flattened(average, len(weights))
        self._weights = weights  # of the network, flattened
        self._buffers = list(zip(average.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def follow(self, weight: Tensor) -> None:
        """Move by `weight` towards the network, (e, 1)."""
        self._average.lerp_(self._weights, weight)
        for average, value in self._buffers:  # of a single network
            if average.is_floating_point():
                average.lerp_(value, weight.reshape(()).to(value.dtype))
            else:
                average.copy_(value)
