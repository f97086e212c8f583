"""Whether the training was long enough, and whether it was over."""

from __future__ import annotations

import numpy as np
import pandas as pd

from jamie.model import Summary
from jamie.train import RECIPES, Recipe

from ._finding import Finding

SHORTEST = RECIPES["default"].min_steps
"""Steps until which the KL term of the default recipe still rises."""
STILL = 0.1
"""Fall of the validation error in the last cycle, as a share of it, that says that more was to come. Of CITE-seq 10k it
is 0.03 to 0.05, and twice the steps gave the same held-out scores."""

ODD = 3
"""Steps that were rolled back, beyond which something is wrong with the values."""


def check_training(summary: Summary, recipe: Recipe, history: pd.DataFrame) -> Finding:
    """Judge the number of steps: `value` is the best one, `reference` the most that were allowed."""
    best, n_steps = summary.best_step, summary.n_steps
    steps = max(n_steps, recipe.max_steps if recipe.step_unit == "step" else n_steps)
    where = ("training", "", "", best, steps)
    if summary.interrupted:
        return Finding(
            *where, "doubtful", f"interrupted after step {n_steps} ({summary.interrupted})",
            "Train again to the end: jm.tl.train(mdata).",
        )  # fmt: skip
    if summary.diverged:
        return Finding(
            *where, "bad", f"diverged at step {summary.diverged}; the weights of step {best} were kept",
            "The log names the features with the largest values: look at them; or train with a lower learning rate: a "
            f"recipe with learning_rate={recipe.learning_rate / 10:g}, jm.tl.train(mdata, recipe=...).",
        )  # fmt: skip
    if n_steps < SHORTEST:
        return Finding(
            *where, "bad", f"{n_steps} steps are too few to learn anything",
            f"Leave max_steps to the recipe: jm.tl.train(mdata), which takes up to {RECIPES['default'].max_steps}.",
        )  # fmt: skip
    if summary.cells == "validation" and best == n_steps and still_falling(history, n_steps):
        return Finding(
            *where, "doubtful", f"the last of {n_steps} steps was the best, and the validation error was still falling",
            f"Train longer: jm.tl.train(mdata, max_steps={2 * n_steps}).",
        )  # fmt: skip
    if summary.rolled_back > ODD:
        return Finding(
            *where, "doubtful",
            f"{summary.rolled_back} of {n_steps} steps were no number and were rolled back; step {best} was kept",
            "The log names the features with the largest values: look at them.",
        )  # fmt: skip
    return Finding(*where, "good", f"the weights of step {best} of {n_steps} were kept")


def still_falling(history: pd.DataFrame, n_steps: int) -> bool:
    """Whether the validation error fell by more than `STILL` of itself after the cycle before the last."""
    if "score" not in history:
        return False
    score = history.set_index("step")["score"].dropna()
    earlier = score[score.index <= (3 * n_steps) // 7 + 1]
    return bool(len(earlier) and np.isfinite(earlier.min()) and score.iloc[-1] < (1 - STILL) * earlier.min())
