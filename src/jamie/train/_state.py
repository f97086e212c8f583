"""All that a training goes on from after a step, so that it ends with the same bits as if it had not been cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from jamie._types import Array


@dataclass(frozen=True)
class TrainingState:
    """A training after a step, losses of that step read and weights judged.

    Which cells were drawn is not in it: they are drawn again from the seed, which takes 0.3 % of the time of the
    steps on a CPU.

    Attributes
    ----------
    step
        Steps that were taken.
    seconds
        That they took.
    is_over
        Whether the training has come to its end.
    history
        Losses that were read, by column.
    best_score, best_step, stale
        Lowest score, the step that had it, and how many scores since were no better; step 0: none yet.
    totals
        Losses of the steps since they were last read.
    last
        Losses of the last step that was looked at, by name.
    rolled_back
        Steps with a loss or gradient that was not finite, which changed nothing.
    arrays
        Weights (``network/…``), their average (``average/…``), the best ones (``best/…``), errors of single cells
        under the best ones (``cells/…``), what the optimiser remembers (``optimiser/…``), losses that were not looked
        at yet (``unread``), and the state of the random numbers (``chance``).
    """

    step: int = 0
    seconds: float = 0.0
    is_over: bool = False
    history: dict[str, list[float]] = field(default_factory=dict)
    best_score: float | None = None
    best_step: int = 0
    stale: int = 0
    totals: list[float] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)
    rolled_back: list[int] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)


class Keeps(Protocol):
    """Where states are kept, so that a training that was killed can go on."""

    def begun(self, state: TrainingState, /) -> TrainingState | None:
        """The last state that was kept, if there is one, given that in which the training would begin."""

    def is_due(self, *, at_end: bool) -> bool:
        """Whether it is time to keep one again; sooner at the end of a cycle."""

    def keep(self, state: TrainingState, /) -> None:
        """Keep a state in place of the last one."""

    def forget(self) -> None:
        """Keep none: the training cannot go on from it."""
