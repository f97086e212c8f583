"""The training loop: sample, forward, loss, backward, step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from jamie._errors import InvalidValueError
from jamie._interrupts import Requests, signal_of
from jamie._progress import progress
from jamie._settings import logger
from jamie.data import Batch, BatchIndex, Draw
from jamie.nn import JointVAE, Outputs, chance_state, n_ranks, set_chance_state

from ._graphs import Graphs
from ._history import History
from ._objective import Target, held_out_cells, held_out_error
from ._optimiser import separated
from ._recipe import RECIPES, Recipe
from ._schedule import averaging_weight, kl_weight
from ._state import Keeps, TrainingState
from ._step import Moment, TrainingStep, as_losses
from ._stopping import CHECK_EVERY, steps_per_tick, stopping_of

SURELY = 0.5
"""Standard errors by which a later cycle must be better.

Splits 10 and 11 of four small sets come out alike with 0, ½ and 1, but cell lines atac → rna, .369, .369 and .363; of
held-out mice a whole one once ended the training with its first cycle, where a kernel alone was as good.
"""


TOLD = 3
"""Steps that were rolled back of which the log has a line each."""


class Fitted(NamedTuple):
    """Where training ended."""

    history: History
    best_step: int
    seconds: float
    n_steps: int
    interrupted: str  # name of the signal that ended it early, or empty
    n_rolled_back: int  # steps that changed nothing, for their loss or gradient was not finite
    diverged: int  # step at which that ended the training early, or 0


class Loads(Protocol):
    """Where batches come from."""

    def index(self, draws: Sequence[Draw], /) -> BatchIndex:
        """Say where the cells of one draw for each network are, on the host."""

    def gather(self, index: BatchIndex, /) -> Batch:
        """Gather the cells of an index, on the device."""

    def extremes(self, draws: Sequence[Draw], /) -> str:
        """Name what is largest in the cells of a batch, for a message."""


def fit(
    network: JointVAE,
    draws: Iterator[Sequence[Draw]],
    loader: Loads,
    targets: Mapping[str, Target],
    recipe: Recipe,
    *,
    steps_per_epoch: int,
    validation: Batch | None,
    checkpoint: Keeps | None = None,
) -> Fitted:
    """Train `network` in place and leave its best weights in it; Ctrl-C and SIGTERM end early and keep them too.

    `draws` gives one draw for each of the networks that are trained side by side, and `validation` has the same cells
    for each. With a `validation` batch the best weights have its lowest cross-modal error, without one the lowest mean
    loss; the :data:`Stopping` of the recipe says at which steps. A step whose loss or gradient is not finite changes
    nothing; two in a row end the training, as do other numbers that are none, with the best weights so far and a
    warning, or with an error where there are none. With a `checkpoint` the training goes on from its last state.
    """
    run = _Run(network, loader, targets, recipe, steps_per_epoch=steps_per_epoch, validation=validation)
    description = f"jamie, recipe {recipe.name!r}"
    bar = progress(run.stopping.max_steps, description=description, unit="cells", scale=recipe.batch_size)
    diverged, interrupted = None, ""
    network.train()
    try:
        run.go_on_from(checkpoint, draws)
        bar.update(run.done)
        _loop(run, draws, checkpoint, bar)
    except KeyboardInterrupt as error:
        interrupted = signal_of(error)
        logger.warning(
            "training interrupted after step %d; the best weights so far are kept%s",
            run.done,
            ", and the same call goes on with it" if checkpoint else "",
        )
    except _DivergedError as error:
        diverged = error
    finally:
        bar.close()
    diverged = diverged or run.settled()
    separated(network)
    run.best.restore()
    if not _is_finite(network):
        diverged, run.best.step = diverged or _DivergedError(run.done, "weights that are no numbers"), 0
    if diverged:
        if checkpoint:
            checkpoint.forget()
        _tell(diverged, run.best.step, recipe)
    network.eval()
    return Fitted(
        run.history,
        run.best.step or run.done,
        run.seconds,
        run.done,
        interrupted,
        len(run.rolled_back),
        diverged.step if diverged else 0,
    )


def _loop(run: _Run, draws: Iterator[Sequence[Draw]], checkpoint: Keeps | None, bar: Any) -> None:
    """Take steps to the end; a signal is heeded after a step, when it is kept."""
    with _requests() as requests:
        while not run.is_over:
            run.step(next(draws))
            bar.update()
            if run.stopping.reads(run.done):
                run.read()
                bar.set_postfix(loss=f"{run.loss:.3f}", best=f"{run.best.score:.3f}", refresh=False)
            if checkpoint and (run.is_over or requests.came or checkpoint.is_due(at_end=run.ends_cycle)):
                checkpoint.keep(run.state())
            requests.heed()


def _requests() -> AbstractContextManager[Requests]:
    """Signals, unless processes train together: they would wait for the one that ends early, so that it just ends."""
    requests = Requests()
    return nullcontext(requests) if n_ranks() > 1 else requests


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
        self._network = network
        self._step = TrainingStep(network, loader.gather, targets, recipe)
        device = network.log_weights.device
        uses_graphs = device.type == "cuda" and n_ranks() == 1
        self._compute = Graphs(self._step.compute, device) if uses_graphs else self._step.compute
        self._recent = _Recent(self._rolled_back)
        self._began = time.perf_counter()
        self.stopping = stopping_of(recipe, steps_per_epoch=steps_per_epoch, held_out=validation is not None)
        self.history, self.best, self.done = History(), _Best(network, self._step.scored), 0
        self.is_over = False
        self.rolled_back: list[int] = []

    @property
    def loss(self) -> float:
        """Loss of the step that was read last."""
        return self.history.rows[-1]["total"] if self.history.rows else float("nan")

    @property
    def seconds(self) -> float:
        """That the training took so far."""
        return time.perf_counter() - self._began

    @property
    def ends_cycle(self) -> bool:
        """Whether the last step ended a cycle."""
        return self.stopping.ends_cycle(self.done)

    def step(self, draws: Sequence[Draw]) -> None:
        """Take one step; nothing waits for the device."""
        step = self.done + 1
        moment = Moment(
            step,
            rate=self._recipe.learning_rate * self.stopping.rate(step),
            kappa=kl_weight(step / self._tick, self._recipe.min_steps),
            averaging=averaging_weight(step, self._recipe.averaging),
        )
        values = self._compute(self._loader.index(draws), self._step.schedule(moment))
        self.done = step
        self.is_over = step >= self.stopping.max_steps
        self._recent.add(step, values, draws)

    def read(self) -> None:
        """Read the losses, score the weights, and judge them where the step is one to judge at."""
        (score, losses), cells = self._recent.read(), None
        if self._validation is not None:
            outputs = _predicted(self._step.scored, self._validation)
            score = held_out_error(outputs, self._validation, self._targets).item()
            if self.stopping.compares_cells and self.stopping.judges(self.done):
                cells = held_out_cells(outputs, self._validation, self._targets)
        if score is None or not losses:  # no step since, or none at all, had any
            return
        if not math.isfinite(score):
            raise _DivergedError(self.done, f"a score of {score}")
        self.history.add(self.done, losses, score=score)
        if self.stopping.judges(self.done):
            self.best.offer(score, self.done, cells)
            self.is_over |= self.stopping.is_over(self.best.stale)

    def settled(self) -> _DivergedError | None:
        """Look at the steps that were not looked at before an early end: what diverged, if that did."""
        try:
            self._recent.look()
        except _DivergedError as error:
            return error
        return None

    def state(self) -> TrainingState:
        """All that the training goes on from."""
        arrays = {**self._step.state(), **self.best.state()}
        if unread := self._recent.unread:
            arrays["unread"] = torch.stack(unread)
        device = self._network.log_weights.device
        return TrainingState(
            step=self.done,
            seconds=self.seconds,
            is_over=self.is_over,
            history=self.history.columns(),
            best_score=self.best.score if self.best.step else None,
            best_step=self.best.step,
            stale=self.best.stale,
            totals=list(self._recent.totals),
            last=dict(self._recent.last),
            rolled_back=list(self.rolled_back),
            arrays={
                **{name: value.numpy(force=True) for name, value in arrays.items()},
                "chance": chance_state(device).numpy(),
            },
        )

    def go_on_from(self, checkpoint: Keeps | None, draws: Iterator[Sequence[Draw]]) -> None:
        """Take up the last state of a checkpoint, if it has one; cells of the steps that were taken are drawn again."""
        state = checkpoint.begun(self.state()) if checkpoint else None
        if state is None:
            return
        device = self._network.log_weights.device
        with torch.no_grad():
            for name, value in self._step.state().items():
                value.copy_(torch.from_numpy(state.arrays[name]))
        recent = [next(draws) for _ in range(state.step)][-CHECK_EVERY:]
        unread = torch.from_numpy(state.arrays["unread"]).to(device) if "unread" in state.arrays else ()
        self._recent.go_on_from(state, list(unread), recent)
        self.best.go_on_from(state, device)
        self.history, self.rolled_back = History.of(state.history), list(state.rolled_back)
        self.done, self.is_over = state.step, state.is_over
        set_chance_state(device, torch.from_numpy(state.arrays["chance"]))
        self._began = time.perf_counter() - state.seconds
        logger.info("going on after step %d of %d", state.step, self.stopping.max_steps)

    def _rolled_back(self, step: int, reason: str, draws: Sequence[Draw]) -> None:
        """Tell of a step that changed nothing, and end the training if the one before it was another."""
        again = self.rolled_back[-1:] == [step - 1]
        self.rolled_back.append(step)
        extremes = self._loader.extremes(draws)
        if again:
            raise _DivergedError(step, f"{reason} twice in a row ({extremes})")
        if len(self.rolled_back) <= TOLD:
            logger.warning("step %d is rolled back, for it had %s; %s", step, reason, extremes)


class _Recent:
    """Losses since they were last read, left on the device, and checked every `CHECK_EVERY` steps at the latest."""

    def __init__(self, rolled_back: Callable[[int, str, Sequence[Draw]], None]) -> None:
        self._rolled_back = rolled_back
        self._draws: list[Sequence[Draw]] = []
        self._step = 0
        self.totals: list[float] = []
        self.last: dict[str, float] = {}
        self.unread: list[Tensor] = []

    def add(self, step: int, values: Tensor, draws: Sequence[Draw]) -> None:
        """Keep the losses of a step, and the norm of its gradient: either may be what is no number first."""
        self._step = step
        self.unread.append(values)
        self._draws.append(draws)
        if len(self.unread) >= CHECK_EVERY:
            self.look()

    def read(self) -> tuple[float | None, dict[str, float]]:
        """Mean loss since the last time, and the losses of the last step by name."""
        self.look()
        mean = math.fsum(self.totals) / len(self.totals) if self.totals else None
        self.totals = []
        return mean, self.last

    def go_on_from(self, state: TrainingState, unread: list[Tensor], draws: list[Sequence[Draw]]) -> None:
        self.totals, self.last, self.unread = list(state.totals), dict(state.last), unread
        self._draws, self._step = draws[len(draws) - len(unread) :], state.step

    def look(self) -> None:
        """Look at what was not looked at yet: a step of which a loss or gradient is no number has changed nothing."""
        if not self.unread:
            return
        rows, draws = torch.stack(self.unread).tolist(), self._draws
        self.unread, self._draws = [], []
        for at, (values, drawn) in enumerate(zip(rows, draws, strict=True), start=self._step - len(rows) + 1):
            losses, norm = as_losses(values)
            if not math.isfinite(losses["total"]):
                self._rolled_back(at, f"a loss of {losses['total']}", drawn)
            elif not math.isfinite(norm):
                self._rolled_back(at, f"a gradient of norm {norm}", drawn)
            else:
                self.totals.append(losses["total"])
                self.last = losses


class _DivergedError(Exception):
    """Since a step, something is no number, or is infinite."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(step, reason)
        self.step, self.reason = step, reason


def _tell(diverged: _DivergedError, kept: int, recipe: Recipe) -> None:
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
        outputs = network(batch.inputs, batch.known, crossed=True, compared=batch.compared)
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

    def state(self) -> dict[str, Tensor]:
        """The weights, and errors of single cells under them, by name."""
        cells = {f"cells/{i}": errors for i, errors in enumerate(self._cells or ())}
        return {**{f"best/{name}": value for name, value in self._state.items()}, **cells}

    def go_on_from(self, state: TrainingState, device: torch.device) -> None:
        arrays = {name: torch.from_numpy(array).to(device) for name, array in state.arrays.items()}
        self._state = {name.removeprefix("best/"): value for name, value in arrays.items() if name[:5] == "best/"}
        cells = [arrays[f"cells/{i}"] for i in range(sum(name[:6] == "cells/" for name in arrays))]
        self._cells = cells or None
        self.step, self.stale = state.best_step, state.stale
        self.score = float("inf") if state.best_score is None else state.best_score

    def restore(self) -> None:
        self._network.load_state_dict(self._state or self._scored.state_dict())


def _surely_less(new: list[Tensor], old: list[Tensor]) -> bool:
    """Whether the sum of the means is lower by more than `SURELY` of its standard error, cell by cell."""
    differences = [before - after for before, after in zip(old, new, strict=True) if len(after) > 1]
    gain = sum(difference.mean().item() for difference in differences)
    variance = sum(difference.var().item() / len(difference) for difference in differences)
    return gain > SURELY * variance**0.5
