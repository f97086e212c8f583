"""What changes with the step, as plain functions of it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence


def kl_weight(step: float, min_steps: int) -> float:
    """κ of eq. 5: 1 / (1 + exp(−5 (t − t_min/2) / (t_min/2))), from 0.007 at the start to 0.993 at t_min."""
    half = max(min_steps, 1) / 2
    return 1 / (1 + math.exp(-5 * (min(step, 2 * min_steps) - half) / half))


def cycle_ends(max_steps: int, cycles: int) -> list[int]:
    """Last step of each cycle; each is twice as long as the one before, the last ends at `max_steps`."""
    return [max(1, round(max_steps * (2**i - 1) / (2**cycles - 1))) for i in range(1, cycles + 1)]


def one_cycle(step: int, ends: Sequence[int]) -> float:
    """Share of the learning rate: in each cycle up along a cosine over its first quarter, then down to (almost) 0."""
    i = bisect_left(ends, step)
    start = ends[i - 1] if i else 0
    length, step = ends[i] - start, step - start
    warm = 0.25 * length
    if step < warm:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / warm))
    return 1e-4 + 0.5 * (1 + math.cos(math.pi * (step - warm) / max(length - warm, 1)))


def averaging_weight(step: int, decay: float) -> float:
    """Weight of the newest weights in their running average: 1 - decay, and more at first, to forget the start."""
    return max(1 - decay, 1 / (1 + 0.1 * step))
