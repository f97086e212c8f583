"""The training loop: sample, forward, loss, backward, step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from jamie._errors import InvalidValueError
from jamie._interrupts import Requests, signal_of
from jamie._progress import progress
from jamie._settings import logger
from jamie.data import Batch, BatchIndex, Draw
from jamie.nn import JointVAE, Outputs, n_ranks

from ._graphs import Graphs
from ._history import History
from ._objective import Target, held_out_cells, held_out_error
from ._optimiser import separated
from ._recipe import RECIPES, Recipe
from ._schedule import averaging_weight, kl_weight
from ._step import Moment, TrainingStep, as_losses
from ._stopping import CHECK_EVERY, steps_per_tick, stopping_of

SURELY = 0.5
"""Standard errors by which a later cycle must be better.

Splits 10 and 11 of four small sets come out alike with 0, ½ and 1, but cell lines atac → rna, .369, .369 and .363; of
held-out mice a whole one once ended the training with its first cycle, where a kernel alone was as good.
"""


class Fitted(NamedTuple):
    """Where training ended."""

    history: History
    best_step: int
    seconds: float
    n_steps: int
    interrupted: str  # name of the signal that ended it early, or empty


class Loads(Protocol):
    """Where batches come from."""

    def index(self, draws: Sequence[Draw], /) -> BatchIndex:
        """Say where the cells of one draw for each network are, on the host."""

    def gather(self, index: BatchIndex, /) -> Batch:
        """Gather the cells of an index, on the device."""


def fit(
    network: JointVAE,
    draws: Iterator[Sequence[Draw]],
    loader: Loads,
    targets: Mapping[str, Target],
    recipe: Recipe,
    *,
    steps_per_epoch: int,
    validation: Batch | None,
) -> Fitted:
    """Train `network` in place and leave its best weights in it; Ctrl-C and SIGTERM end early and keep them too.

    `draws` gives one draw for each of the networks that are trained side by side, and `validation` has the same cells
    for each. With a `validation` batch the best weights have its lowest cross-modal error, without one the lowest mean
    loss; the :data:`Stopping` of the recipe says at which steps. A training that diverges ends as soon as that is seen,
    with the best weights so far and a warning, or with an error where there are none.
    """
    run = _Run(network, loader, targets, recipe, steps_per_epoch=steps_per_epoch, validation=validation)
    description = f"jamie, recipe {recipe.name!r}"
    bar = progress(run.stopping.max_steps, description=description, unit="cells", scale=recipe.batch_size)
    began, diverged, interrupted = time.perf_counter(), None, ""
    network.train()
    try:
        # Processes that train together would wait for the one that ends early: there a signal does what it did.
        with nullcontext(Requests()) if n_ranks() > 1 else Requests() as requests:
            for step in range(1, run.stopping.max_steps + 1):
                run.step(step, next(draws))
                bar.update()
                requests.heed()
                if not run.stopping.reads(step):
                    continue
                run.read(step)
                bar.set_postfix(loss=f"{run.loss:.3f}", best=f"{run.best.score:.3f}", refresh=False)
                if run.stopping.judges(step) and run.stopping.is_over(run.best.stale):
                    break
    except KeyboardInterrupt as error:
        interrupted = signal_of(error)
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
    return Fitted(run.history, run.best.step or run.done, time.perf_counter() - began, run.done, interrupted)


class _Run:
    """One training: its steps, the weights that are scored, and what was read so far."""

    def __init__(
        self,
        network: JointVAE,
        loader: Loads,
        targets: Mapping[str, Target],
        recipe: Recipe,
        *,
        steps_per_epoch: int,
        validation: Batch | None,
    ) -> None:
        self._loader, self._targets, self._recipe, self._validation = loader, targets, recipe, validation
        self._tick = steps_per_tick(recipe, steps_per_epoch)
        self._step = TrainingStep(network, loader.gather, targets, recipe)
        device = network.log_weights.device
        uses_graphs = device.type == "cuda" and n_ranks() == 1
        self._compute = Graphs(self._step.compute, device) if uses_graphs else self._step.compute
        self._recent = _Recent()
        self.stopping = stopping_of(recipe, steps_per_epoch=steps_per_epoch, held_out=validation is not None)
        self.history, self.best, self.done = History(), _Best(network, self._step.scored), 0

    @property
    def loss(self) -> float:
        """Loss of the step that was read last."""
        return self.history.rows[-1]["total"]

    def step(self, step: int, draws: Sequence[Draw]) -> None:
        """Take one step; nothing waits for the device."""
        moment = Moment(
            step,
            rate=self._recipe.learning_rate * self.stopping.rate(step),
            kappa=kl_weight(step / self._tick, self._recipe.min_steps),
            averaging=averaging_weight(step, self._recipe.averaging),
        )
        values = self._compute(self._loader.index(draws), self._step.schedule(moment))
        self.done = step
        self._recent.add(step, values)

    def read(self, step: int) -> None:
        """Read the losses, score the weights, and judge them where the step is one to judge at."""
        (score, losses), cells = self._recent.read(step), None
        if self._validation is not None:
            outputs = _predicted(self._step.scored, self._validation)
            score = held_out_error(outputs, self._validation, self._targets).item()
            if self.stopping.compares_cells and self.stopping.judges(step):
                cells = held_out_cells(outputs, self._validation, self._targets)
        if not math.isfinite(score):
            raise _Diverged(step, f"a score of {score}")
        self.history.add(step, losses, score=score)
        if self.stopping.judges(step):
            self.best.offer(score, step, cells)


class _Recent:
    """Losses since they were last read, left on the device, and checked every `CHECK_EVERY` steps at the latest."""

    def __init__(self) -> None:
        self._totals: list[float] = []
        self._last: dict[str, float] = {}
        self._unchecked: list[Tensor] = []

    def add(self, step: int, values: Tensor) -> None:
        """Keep the losses of a step, and the norm of its gradient: either may be what is no number first."""
        self._unchecked.append(values)
        if len(self._unchecked) >= CHECK_EVERY:
            self._check(step)

    def read(self, step: int) -> tuple[float, dict[str, float]]:
        """Mean loss since the last time, and the losses of the last step by name."""
        self._check(step)
        mean = math.fsum(self._totals) / len(self._totals)
        self._totals = []
        return mean, self._last

    def _check(self, step: int) -> None:
        if not self._unchecked:
            return
        rows = torch.stack(self._unchecked).tolist()
        self._unchecked = []
        for at, values in enumerate(rows, start=step - len(rows) + 1):
            self._last, norm = as_losses(values)
            self._totals.append(self._last["total"])
            if not math.isfinite(self._totals[-1]):
                raise _Diverged(at, f"a loss of {self._totals[-1]}")
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


def _predicted(network: JointVAE, batch: Batch) -> Outputs:
    """Outputs without chance, of a network that goes on training."""
    network.eval()
    with torch.no_grad():
        outputs = network(batch.inputs, batch.known, crossed=True)
    network.train()
    return outputs


class _Best:
    """The weights with the lowest score, and for how many scores they have stood.

    Where errors of single cells are given, a lower score must also be lower by more than `SURELY` standard errors of
    their mean difference: a longer training that a handful of cells prefer has learned noise as soon as signal.
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
    """Whether the sum of the means is lower by more than `SURELY` of its standard error, cell by cell."""
    differences = [before - after for before, after in zip(old, new, strict=True) if len(after) > 1]
    gain = sum(difference.mean().item() for difference in differences)
    variance = sum(difference.var().item() / len(difference) for difference in differences)
    return gain > SURELY * variance**0.5
