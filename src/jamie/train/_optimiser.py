"""AdamW on all weights as one vector, with clipping and the running average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPS = 1e-8


class FlatAdamW:
    """AdamW of torch, step for step, on one vector: a dozen calls a step, where torch makes several a weight.

    The weights of the network become views of the vector, and so do their gradients, which `zero_grad` sets to 0. A
    weight that no loss depends on decays all the same.
    """

    def __init__(self, network: nn.Module, *, weight_decay: float, clip: float) -> None:
        self.weights, self.gradient = flattened(network)
        self._first, self._second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self._weight_decay, self._clip, self._steps = weight_decay, clip, 0

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.gradient.zero_()

    @torch.no_grad()
    def step(self, rate: float) -> Tensor:
        """Move the weights at this learning rate, and return the norm that the gradient had before it was clipped."""
        self._steps += 1
        norm = self.gradient.norm()
        self.gradient.mul_((self._clip / (norm + 1e-6)).clamp_max(1))
        self._first.lerp_(self.gradient, 1 - BETAS[0])
        self._second.mul_(BETAS[1]).addcmul_(self.gradient, self.gradient, value=1 - BETAS[1])
        corrected = 1 - BETAS[1] ** self._steps
        spread = self._second.sqrt().div_(corrected**0.5).add_(EPS)
        self.weights.mul_(1 - rate * self._weight_decay)
        self.weights.addcdiv_(self._first, spread, value=-rate / (1 - BETAS[0] ** self._steps))
        return norm


def flattened(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Make the weights of a network, and their gradients, views of two vectors, and return these."""
    parameters = list(network.parameters())
    weights = torch.cat([parameter.detach().flatten() for parameter in parameters])
    gradient = torch.zeros_like(weights)
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, value, slope in zip(parameters, weights.split(sizes), gradient.split(sizes), strict=True):
        parameter.data = value.view_as(parameter)
        parameter.grad = slope.view_as(parameter)
    return weights, gradient


def separated(network: nn.Module) -> None:
    """Give every weight memory of its own again, and no gradient."""
    for parameter in network.parameters():
        parameter.data, parameter.grad = parameter.detach().clone(), None


class RunningAverage:
    """A copy of a network that follows its weights, and the statistics of its layers, a step behind."""

    def __init__(self, average: nn.Module, network: nn.Module, weights: Tensor) -> None:
        self._average, _ = flattened(average)
        self._weights = weights  # of the network, flattened
        self._buffers = list(zip(average.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def follow(self, weight: float) -> None:
        """Move by `weight` towards the network."""
        self._average.lerp_(self._weights, weight)
        for average, value in self._buffers:
            if average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)
