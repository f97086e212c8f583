"""The training loop: sample, forward, loss, backward, step."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from jamie._progress import progress
from jamie._settings import logger
from jamie.data import Batch, Draw
from jamie.nn import JointVAE, Outputs, average_gradients

from ._history import History
from ._objective import Target, cell_errors, objective
from ._recipe import Recipe
from ._schedule import averaging_weight, cycle_ends, kl_weight, one_cycle

CHECK_EVERY = 20


class Fitted(NamedTuple):
    """Where training ended."""

    history: History
    best_step: int
    seconds: float


def fit(
    network: JointVAE,
    draws: Iterator[Draw],
    load: Callable[[Draw], Batch],
    targets: Mapping[str, Target],
    recipe: Recipe,
    *,
    steps_per_epoch: int,
    validation: Batch | None,
) -> Fitted:
    """Train `network` in place and leave its best weights in it; Ctrl-C ends early and keeps them too.

    With a `validation` batch the best weights have its lowest cross-modal error, looked at every `CHECK_EVERY` steps;
    without one the lowest mean loss of an epoch, as in Algorithm 1. Either is looked for from `min_steps` on: before
    that κ still rises, so that two losses do not compare, and the learning rate is high, so that a low error is luck.
    In cycles it is looked for at the end of each instead, and without a validation batch there is but the first.
    """
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    scored = copy.deepcopy(network) if recipe.averaging else network
    history, best = History(), _Best(network, scored)
    tick = steps_per_epoch if recipe.step_unit == "epoch" else 1
    max_steps, min_steps = tick * recipe.max_steps, tick * recipe.min_steps
    ends = cycle_ends(max_steps, recipe.cycles) if recipe.cycles else []
    check_every = steps_per_epoch if validation is None else CHECK_EVERY
    running, since = torch.zeros((), device=network.log_weights.device), 0
    began, done = time.perf_counter(), 0
    bar = progress(max_steps, description=f"jamie, recipe {recipe.name!r}", unit="cells", scale=recipe.batch_size)
    network.train()
    try:
        for step in range(1, max_steps + 1):
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * (one_cycle(step, ends) if ends else 1.0)
            batch = load(next(draws))
            outputs = network(batch.inputs, batch.correspondence(recipe.rho), crossed=recipe.cross > 0)
            losses = objective(outputs, batch, targets, recipe, kl_weight(step / tick, recipe.min_steps))
            optimiser.zero_grad(set_to_none=True)
            losses.total.backward()
            average_gradients(network)
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimiser.step()
            done = step
            if recipe.averaging:
                _follow(scored, network, averaging_weight(step, recipe.averaging))
            bar.update()
            running, since = running + losses.total.detach(), since + 1
            if step % check_every and step < max_steps and step not in ends:
                continue
            score = (
                running.item() / since if validation is None else held_out_error(scored, validation, targets, recipe)
            )
            running, since = torch.zeros_like(running), 0
            history.add(step, losses, score=score)
            judged = step in ends if ends else step >= min_steps
            if judged:
                best.offer(score, step, held_out_cells(scored, validation, targets) if ends and validation else None)
            bar.set_postfix(loss=f"{losses.total.item():.3f}", best=f"{best.score:.3f}", refresh=False)
            if best.stale >= recipe.patience or (judged and ends and validation is None):
                break
    except KeyboardInterrupt:
        logger.warning("training interrupted after step %d; the best weights so far are kept", done)
    bar.close()
    best.restore()
    network.eval()
    return Fitted(history, best.step or done, time.perf_counter() - began)


def held_out_error(network: JointVAE, batch: Batch, targets: Mapping[str, Target], recipe: Recipe) -> float:
    """Mean error of each modality predicted from each other, as a fraction of variance, on cells not trained on."""
    return objective(_predicted(network, batch), batch, targets, recipe, 1.0).cross.item()


def held_out_cells(network: JointVAE, batch: Batch, targets: Mapping[str, Target]) -> list[Tensor]:
    """The same error of each cell with a partner, for each modality predicted from each other."""
    outputs = _predicted(network, batch)
    return [cell_errors(outputs, batch, pair, targets) for pair in outputs.crossed]


def _predicted(network: JointVAE, batch: Batch) -> Outputs:
    """Outputs without chance, of a network that goes on training."""
    network.eval()
    with torch.no_grad():
        outputs = network(batch.inputs, batch.known, crossed=True)
    network.train()
    return outputs


class _Best:
    """The weights with the lowest score, and for how many scores they have stood.

    Where errors of single cells are given, a lower score must also be lower by more than the standard error of their
    mean difference: a longer training that a handful of cells prefer has learned noise as soon as signal.
    """

    def __init__(self, network: JointVAE, scored: JointVAE) -> None:
        self._network, self._scored = network, scored
        self._state: dict[str, Tensor] = {}
        self._cells: list[Tensor] | None = None
        self.score, self.step, self.stale = float("inf"), 0, 0

    def offer(self, score: float, step: int, cells: list[Tensor] | None = None) -> None:
        self.stale += 1
        if score < self.score - 1e-8 and (self._cells is None or cells is None or _surely_less(cells, self._cells)):
            self.score, self.step, self.stale, self._cells = score, step, 0, cells
            self._state = {name: value.detach().clone() for name, value in self._scored.state_dict().items()}

    def restore(self) -> None:
        self._network.load_state_dict(self._state or self._scored.state_dict())


@torch.no_grad()
def _follow(averaged: JointVAE, network: JointVAE, weight: float) -> None:
    """Move the running average of the weights by `weight` towards the network."""
    for average, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if average.is_floating_point():
            average.lerp_(value, weight)
        else:
            average.copy_(value)


def _surely_less(new: list[Tensor], old: list[Tensor]) -> bool:
    """Whether the sum of the means is lower by more than its standard error, cell by cell."""
    differences = [before - after for before, after in zip(old, new, strict=True) if len(after) > 1]
    gain = sum(difference.mean().item() for difference in differences)
    variance = sum(difference.var().item() / len(difference) for difference in differences)
    return gain > variance**0.5
