"""When losses are read, when weights are judged, and when training is over."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TypeAlias

from ._recipe import Recipe
from ._schedule import cycle_ends, one_cycle

CHECK_EVERY = 20


@dataclass(frozen=True)
class ConstantRate:
    """A constant learning rate: losses are read every few steps, and weights judged wherever they are read.

    They are judged from `min_steps` on: before that κ still rises, so that two losses do not compare, and the learning
    rate is high for what was learned, so that a low error is luck. Training ends when `patience` scores were no better.
    """

    max_steps: int
    min_steps: int
    patience: int
    read_every: int
    compares_cells = False

    def rate(self, _step: int) -> float:
        """Share of the recipe's learning rate at a step."""
        return 1.0

    def reads(self, step: int) -> bool:
        """Whether losses are read, and scored, after a step."""
        return step % self.read_every == 0 or step == self.max_steps

    def judges(self, step: int) -> bool:
        """Whether the score of a step that is read may make its weights the best."""
        return step >= self.min_steps

    def is_over(self, stale: int) -> bool:
        """Whether training ends with a judgement, when `stale` of them in a row were no better than the best."""
        return stale >= self.patience

    def ends_cycle(self, step: int) -> bool:
        """Whether a step ends a cycle: there is but one."""
        return step == self.max_steps


@dataclass(frozen=True)
class Cycles:
    """A rate that rises and falls in cycles; weights are judged where each ends, at a rate low enough to tell.

    With held-out pairs training ends when `patience` cycles were no better, and better means by more than half a
    standard error over cells: a longer training that a handful of cells prefer has learned noise as soon as signal.
    Without held-out pairs nothing tells whether a longer cycle helps, and there is but the first.
    """

    ends: tuple[int, ...]  # last step of each
    patience: int
    read_every: int
    held_out: bool

    @property
    def max_steps(self) -> int:
        """Last step of the last cycle."""
        return self.ends[-1]

    @property
    def compares_cells(self) -> bool:
        """Whether errors of single cells say what is better."""
        return self.held_out

    def rate(self, step: int) -> float:
        """Share of the recipe's learning rate at a step."""
        return one_cycle(step, self.ends)

    def reads(self, step: int) -> bool:
        """Whether losses are read, and scored, after a step."""
        return step % self.read_every == 0 or self.judges(step)

    def judges(self, step: int) -> bool:
        """Whether the score of a step may make its weights the best: where a cycle ends."""
        return self.ends_cycle(step)

    def ends_cycle(self, step: int) -> bool:
        """Whether a step ends a cycle."""
        return self.ends[bisect_left(self.ends, step)] == step

    def is_over(self, stale: int) -> bool:
        """Whether training ends with a cycle, when `stale` of them in a row were no better than the best."""
        return stale >= self.patience or not self.held_out


Stopping: TypeAlias = ConstantRate | Cycles


def stopping_of(recipe: Recipe, *, steps_per_epoch: int, held_out: bool) -> Stopping:
    """Choose how a recipe goes through its steps.

    With held-out pairs losses are read every `CHECK_EVERY` steps, and scored by the error of those pairs; without any
    they are read once per epoch, and scored by their mean, as in Algorithm 1 of the paper.
    """
    tick = steps_per_tick(recipe, steps_per_epoch)
    max_steps, read_every = tick * recipe.max_steps, CHECK_EVERY if held_out else steps_per_epoch
    if recipe.cycles:
        return Cycles(tuple(cycle_ends(max_steps, recipe.cycles)), recipe.patience, read_every, held_out)
    return ConstantRate(max_steps, tick * recipe.min_steps, recipe.patience, read_every)


def steps_per_tick(recipe: Recipe, steps_per_epoch: int) -> int:
    """How many steps one of the recipe's `max_steps` and `min_steps` stands for."""
    return steps_per_epoch if recipe.step_unit == "epoch" else 1
