"""One step of training: gather, forward, losses, backward, the step of the weights, and of their average."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from jamie._settings import settings
from jamie.data import Batch, BatchIndex
from jamie.nn import JointVAE

from ._objective import Losses, Target, objective
from ._optimiser import FlatAdamW, RunningAverage
from ._recipe import Recipe


class Moment(NamedTuple):
    """What a step depends on besides its batch."""

    step: int  # from 1
    rate: float  # of learning
    kappa: float  # weight of the divergence
    averaging: float  # weight of the newest weights in their average


class TrainingStep:
    """Computes steps of one training.

    `compute` is a function of tensors: no number of Python that changes with the step is in it, and no value is looked
    at, so that a CUDA graph can replay it.
    """

    def __init__(
        self, network: JointVAE, gather: Callable[[BatchIndex], Batch], targets: Mapping[str, Target], recipe: Recipe
    ) -> None:
        self._network, self._gather, self._targets, self._recipe = network, gather, targets, recipe
        self._losses = torch.compile(self._losses_of, dynamic=False) if settings.compile else self._losses_of
        self.scored = copy.deepcopy(network) if recipe.averaging else network
        self._buffers = list(network.buffers())
        n = network.n_networks
        self._optimiser = FlatAdamW(network, weight_decay=recipe.weight_decay, clip=recipe.clip, n_networks=n)
        self._average = RunningAverage(self.scored, network, self._optimiser.weights) if recipe.averaging else None

    def state(self) -> dict[str, Tensor]:
        """Weights, their average and what the optimiser remembers, by name, as they are now: what a step changes."""
        groups = {"network": self._network.state_dict(), "optimiser": self._optimiser.state()}
        if self._average:
            groups["average"] = self.scored.state_dict()
        return {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}

    def schedule(self, moment: Moment) -> Tensor:
        """What `compute` takes for a moment, on the host."""
        factors = self._optimiser.factors(moment.rate, moment.step)
        return torch.tensor([moment.kappa, moment.averaging, *factors], dtype=torch.float32)

    def compute(self, index: BatchIndex, schedule: Tensor) -> Tensor:
        """Move the weights; the loss, its terms, and the norm of the gradient, as `as_losses` reads them.

        A network whose loss or gradient is not finite is as before, its average and the statistics of its layers too.
        """
        kappa, averaging = schedule[0], schedule[1]
        before = [buffer.clone() for buffer in self._buffers]
        losses = self._losses(index, kappa)
        norm, moves = self._optimiser.step(losses.total, schedule[2:])
        for buffer, value in zip(self._buffers, before, strict=True):  # of batch norm, which has one network
            buffer.copy_(torch.where(moves[0, 0], buffer, value))
        if self._average:
            self._average.follow(torch.where(moves, averaging, 0))
        terms = [term.detach().mean() for term in losses]
        return torch.stack([*terms, norm.amax()])

    def _losses_of(self, index: BatchIndex, kappa: Tensor) -> Losses:
        batch = self._gather(index)
        if self._recipe.rho < 1:  # inferred partners are decoded as well
            batch = batch._replace(compared=batch.compared._replace(crossed={}))
        outputs = self._network(
            batch.inputs,
            batch.correspondence(self._recipe.rho),
            crossed=self._recipe.cross > 0,
            compared=batch.compared,
        )
        return objective(outputs, batch, self._targets, self._recipe, kappa)


def as_losses(values: list[float]) -> tuple[dict[str, float], float]:
    """Losses of a step by name, means over the networks, and the largest norm of a gradient."""
    *losses, norm = values
    return dict(zip(Losses._fields, losses, strict=True)), norm
