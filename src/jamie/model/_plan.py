"""Which cells train, which choose the weights, and how batches are drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jamie._types import Array
from jamie.data import Draw, Problem, Units, permuted, stratified, with_partners
from jamie.train import Recipe


def hold_out(units: Units, recipe: Recipe, rng: np.random.Generator) -> tuple[Array, Array]:
    """Units to train on, and pairs to choose the weights by: none where that would leave too few to tell."""
    everyone = np.arange(len(units))
    paired = everyone[units.n_modalities >= 2]
    n = min(int(recipe.validation * len(paired)), 2_000)
    if n < 10:
        return everyone, everyone[:0]
    validation = np.sort(rng.choice(paired, n, replace=False))
    return np.setdiff1d(everyone, validation), validation


def draws(problem: Problem, units: Units, chosen: Array, recipe: Recipe, rng: np.random.Generator) -> Iterator[Draw]:
    """Batches of the chosen units, with inferred partners where there are any."""
    found = (
        stratified(units, chosen, size=recipe.batch_size, least_paired=recipe.least_paired, rng=rng)
        if recipe.least_paired
        else permuted(units, chosen, size=recipe.batch_size, rng=rng)
    )
    if not problem.inferred:
        return found
    cells, allowed = units.cells(chosen), {}
    for name, view in problem.modalities.items():
        allowed[name] = np.zeros(len(view.cells), dtype=bool)
        allowed[name][cells[name]] = True
    return with_partners(found, problem, allowed, rng=rng)


def require_batch(n_units: int, asked: int | None) -> None:
    """Raise if there are too few training cells."""
    least = 10 if asked is None else asked
    if n_units < least:
        msg = (
            f"expected at least {least} training "
            f"cells{'' if asked is None else ' for batch_size=' + str(asked)}, found "
            f"{n_units}; " + ("collect more cells" if asked is None else f"pass batch_size={n_units} or less")
        )
        raise ValueError(msg)
