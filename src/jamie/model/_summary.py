"""What a trained model is worth, said without labels: on pairs it was not trained on."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import TYPE_CHECKING

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._settings import logger
from jamie._types import Array
from jamie.data import Problem, Units, matrix
from jamie.metrics import feature_correlation, foscttm

if TYPE_CHECKING:
    from ._jamie import JAMIE

MOST_CELLS = 1_000
NEAR_CHANCE = 0.4


def summarise(model: JAMIE, mdata: MuData, problem: Problem, units: Units, judged: Array) -> dict[str, float]:
    """FOSCTTM and mean correlation of the features imputed both ways, on the pairs of the given units; logged.

    A warning is logged where the FOSCTTM is near chance, 0.5.
    """
    cells = units.cells(judged)
    found: dict[str, float] = {}
    for a, b in combinations(problem.modalities, 2):
        rows, columns = _pairs(problem.known[a, b], cells[a], cells[b])
        if len(rows) < 3:
            continue
        latents = {
            name: model.encode(problem.modalities[name].inputs[index], name)
            for name, index in ((a, rows), (b, columns))
        }
        found[f"foscttm {a} {b}"] = foscttm(latents[a], latents[b])
        index = {a: rows, b: columns}
        for source, target in permutations((a, b)):
            preparation = problem.modalities[target].preparation
            x = matrix(mdata, target, layer=preparation.layer or None)[index[target]]
            imputed = model.decode(latents[source], target)
            with np.errstate(invalid="ignore"):
                score = feature_correlation(preparation.measured(x), imputed)
            found[f"correlation {source} {target}"] = (
                float(np.nanmean(score)) if np.isfinite(score).any() else float("nan")
            )
    return found


def announce(summary: dict[str, float | str]) -> None:
    """Log the summary in one line, and warn where the alignment is near chance."""
    scores = {key: float(value) for key, value in summary.items() if key.startswith(("foscttm", "correlation"))}
    shown = ", ".join(
        f"{key.replace(' ', ' → ', 2).replace(' → ', ' ', 1)} {value:.3f}" for key, value in scores.items()
    )
    logger.info(
        "trained in %.1f s, best step %d; %s",
        summary["seconds"],
        summary["best_step"],
        f"on {summary['cells']} pairs: {shown}" if shown else "no pairs are known to score it by",
    )
    for key, value in scores.items():
        if key.startswith("foscttm") and value > NEAR_CHANCE:
            logger.warning(
                "%s is %.2f on %s pairs, near chance (0.5): the modalities were not joined; check that cells of "
                "the same name "
                "are the same cell, and the kinds given to jm.pp.prepare",
                key,
                value,
                summary["cells"],
            )


def _pairs(f: sparse.csr_matrix, rows: Array, columns: Array) -> tuple[Array, Array]:
    """The surest partner in `columns` of each of `rows` that has one, at most `MOST_CELLS` of them."""
    block = f[rows][:, columns]
    partner = np.asarray(block.argmax(axis=1)).ravel()
    has = np.asarray(block.sum(axis=1)).ravel() > 0
    return rows[has][:MOST_CELLS], columns[partner[has]][:MOST_CELLS]
