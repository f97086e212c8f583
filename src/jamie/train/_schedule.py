"""What changes with the step, as plain functions of it."""

from __future__ import annotations

import math


def kl_weight(step: float, min_steps: int) -> float:
    """κ of eq. 5: 1 / (1 + exp(−5 (t − t_min/2) / (t_min/2))), from 0.007 at the start to 0.993 at t_min."""
    half = max(min_steps, 1) / 2
    return 1 / (1 + math.exp(-5 * (min(step, 2 * min_steps) - half) / half))


def one_cycle(step: int, max_steps: int) -> float:
    """Share of the learning rate: up along a cosine over the first quarter, then down to (almost) nothing."""
    warm = 0.25 * max_steps
    if step < warm:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / warm))
    return 1e-4 + 0.5 * (1 + math.cos(math.pi * (step - warm) / max(max_steps - warm, 1)))


def averaging_weight(step: int, decay: float) -> float:
    """Weight of the newest weights in their running average: 1 - decay, and more at first, to forget the start."""
    return max(1 - decay, 1 / (1 + 0.1 * step))
