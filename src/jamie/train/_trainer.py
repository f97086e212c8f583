"""The training loop: sample, forward, loss, backward, step."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from jamie._errors import InvalidValueError
from jamie._progress import progress
from jamie._settings import logger
from jamie.data import Batch, Draw
from jamie.nn import JointVAE, Outputs, average_gradients

from ._history import History
from ._objective import Target, cell_errors, objective
from ._optimiser import FlatAdamW, RunningAverage, separated
from ._recipe import RECIPES, Recipe
from ._schedule import averaging_weight, kl_weight
from ._stopping import CHECK_EVERY, steps_per_tick, stopping_of


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

    With a `validation` batch the best weights have its lowest cross-modal error, without one the lowest mean loss; the
    :data:`Stopping` of the recipe says at which steps. A training that diverges ends as soon as that is seen, with the
    best weights so far and a warning, or with an error where there are none.
    """
    run = _Run(network, targets, recipe, steps_per_epoch=steps_per_epoch, validation=validation)
    description = f"jamie, recipe {recipe.name!r}"
    bar = progress(run.stopping.max_steps, description=description, unit="cells", scale=recipe.batch_size)
    began, diverged = time.perf_counter(), None
    network.train()
    try:
        for step in range(1, run.stopping.max_steps + 1):
            run.step(step, load(next(draws)))
            bar.update()
            if not run.stopping.reads(step):
                continue
            run.read(step)
            bar.set_postfix(loss=f"{run.loss:.3f}", best=f"{run.best.score:.3f}", refresh=False)
            if run.stopping.judges(step) and run.stopping.is_over(run.best.stale):
                break
    except KeyboardInterrupt:
        logger.warning("training interrupted after step %d; the best weights so far are kept", run.done)
    except _Diverged as error:
        diverged = error
    bar.close()
    separated(network)
    run.best.restore()
    if not _is_finite(network):
        diverged, run.best.step = diverged or _Diverged(run.done, "weights that are no numbers"), 0
    if diverged:
        _tell(diverged, run.best.step, recipe)
    network.eval()
    return Fitted(run.history, run.best.step or run.done, time.perf_counter() - began)


class _Run:
    """One training: the network, the weights that are scored, and what was read so far."""

    def __init__(
        self,
        network: JointVAE,
        targets: Mapping[str, Target],
        recipe: Recipe,
        *,
        steps_per_epoch: int,
        validation: Batch | None,
    ) -> None:
        self._network, self._targets, self._recipe, self._validation = network, targets, recipe, validation
        self._tick = steps_per_tick(recipe, steps_per_epoch)
        self._scored = copy.deepcopy(network) if recipe.averaging else network
        self._optimiser = FlatAdamW(network, weight_decay=recipe.weight_decay, clip=recipe.clip)
        self._average = RunningAverage(self._scored, network, self._optimiser.weights) if recipe.averaging else None
        self._recent = _Recent(network.log_weights.device)
        self.stopping = stopping_of(recipe, steps_per_epoch=steps_per_epoch, held_out=validation is not None)
        self.history, self.best, self.done = History(), _Best(network, self._scored), 0

    @property
    def loss(self) -> float:
        """Loss of the step that was read last."""
        return self.history.rows[-1]["total"]

    def step(self, step: int, batch: Batch) -> None:
        """Forward, loss, backward, and a step of the weights and of their average."""
        recipe, network = self._recipe, self._network
        outputs = network(batch.inputs, batch.correspondence(recipe.rho), crossed=recipe.cross > 0)
        self._losses = objective(outputs, batch, self._targets, recipe, kl_weight(step / self._tick, recipe.min_steps))
        self._optimiser.zero_grad()
        self._losses.total.backward()
        average_gradients(network)
        norm = self._optimiser.step(recipe.learning_rate * self.stopping.rate(step))
        self.done = step
        if self._average:
            self._average.follow(averaging_weight(step, recipe.averaging))
        self._recent.add(step, self._losses.total.detach(), norm)

    def read(self, step: int) -> None:
        """Read the losses, score the weights, and judge them where the step is one to judge at."""
        score = self._recent.read(step)
        if self._validation is not None:
            score = held_out_error(self._scored, self._validation, self._targets, self._recipe)
        if not math.isfinite(score):
            raise _Diverged(step, f"a score of {score}")
        self.history.add(step, self._losses, score=score)
        if self.stopping.judges(step):
            self.best.offer(score, step, self._errors())

    def _errors(self) -> list[Tensor] | None:
        """Errors of single held-out cells, where these say what is better."""
        if self._validation is None or not self.stopping.compares_cells:
            return None
        return held_out_cells(self._scored, self._validation, self._targets)


class _Recent:
    """Losses since they were last read, left on the device, and checked every `CHECK_EVERY` steps at the latest."""

    def __init__(self, device: torch.device) -> None:
        self._zero = torch.zeros((), device=device)
        self._sum, self._n = self._zero, 0
        self._unchecked: list[Tensor] = []

    def add(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Keep the loss of a step, and the norm of its gradient: either may be what is no number first."""
        self._sum, self._n = self._sum + loss, self._n + 1
        self._unchecked += [loss, norm]
        if len(self._unchecked) >= 2 * CHECK_EVERY:
            self._check(step)

    def read(self, step: int) -> float:
        """Mean loss since the last time."""
        self._check(step)
        mean = self._sum.item() / self._n
        self._sum, self._n = self._zero, 0
        return mean

    def _check(self, step: int) -> None:
        if not self._unchecked:
            return
        values = torch.stack(self._unchecked).view(-1, 2).tolist()
        self._unchecked = []
        for at, (loss, norm) in enumerate(values, start=step - len(values) + 1):
            if not math.isfinite(loss):
                raise _Diverged(at, f"a loss of {loss}")
            if not math.isfinite(norm):
                raise _Diverged(at, f"a gradient of norm {norm}")


class _Diverged(Exception):
    """Since a step, something is no number, or is infinite."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(step, reason)
        self.step, self.reason = step, reason


def _tell(diverged: _Diverged, kept: int, recipe: Recipe) -> None:
    """Warn that training diverged after good weights, those of step `kept`; raise if there are none."""
    usual = RECIPES[recipe.name].learning_rate if recipe.name in RECIPES else recipe.learning_rate
    lower = usual if usual < recipe.learning_rate else recipe.learning_rate / 10
    remedy = (
        f"pass a lower learning rate, recipe=dataclasses.replace(jm.recipes[{recipe.name!r}], learning_rate={lower:g})"
        if recipe.name in RECIPES
        else f"pass a lower learning rate, recipe=dataclasses.replace(recipe, learning_rate={lower:g})"
    )
    remedy += ", and look for values that are far from all others"
    happened = f"{diverged.reason} at step {diverged.step}, with learning_rate={recipe.learning_rate:g}"
    if kept:
        logger.warning("training diverged: %s; the weights of step %d are kept; %s", happened, kept, remedy)
        return
    msg = f"expected a training with finite losses, found {happened}; {remedy}"
    raise InvalidValueError(msg)


def _is_finite(network: JointVAE) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())


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


def _surely_less(new: list[Tensor], old: list[Tensor]) -> bool:
    """Whether the sum of the means is lower by more than its standard error, cell by cell."""
    differences = [before - after for before, after in zip(old, new, strict=True) if len(after) > 1]
    gain = sum(difference.mean().item() for difference in differences)
    variance = sum(difference.var().item() / len(difference) for difference in differences)
    return gain > variance**0.5
