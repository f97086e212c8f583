"""What a trained model is worth, said without labels: on pairs it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import numpy as np

from jamie._settings import logger
from jamie._types import Array, Matrix
from jamie.data import Cells, LinkedCells, Problem
from jamie.metrics import feature_correlation, foscttm
from jamie.train import Recipe

from ._kernel_mixes import surest_pairs

if TYPE_CHECKING:
    from ._jamie import JAMIE

MOST_CELLS = 1_000
NEAR_CHANCE = 0.4
VALUES = 2**24  # imputed at a time


def summarise(model: JAMIE, opened: Cells, problem: Problem, linked: LinkedCells, judged: Array) -> dict[str, float]:
    """FOSCTTM and mean correlation of the features imputed both ways, on the pairs of the given units.

    Beside each correlation stands that of kernel ridge regression alone, where there is one.
    """
    cells = linked.cells(judged)
    found: dict[str, float] = {}
    for a, b in combinations(problem.modalities, 2):
        rows, columns = (side[:MOST_CELLS] for side in surest_pairs(problem.known[a, b], cells[a], cells[b]))
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
            measured = preparation.measured(opened.matrix(target, preparation.layer or "X")[index[target]])
            inputs = problem.modalities[source].inputs[index[source]]
            ways: dict[str, Callable[..., Array]] = {"correlation": model.translate}
            if model.network_.kernel_mix(source, target):
                ways["kernel ridge"] = model.regressed
            for way, impute in ways.items():
                found[f"{way} {source} {target}"] = _mean_correlation(measured, partial(impute, inputs, source, target))
    return found


def announce(summary: dict[str, float | str], recipe: Recipe) -> None:
    """Log the summary in one line, and warn where the alignment is near chance."""
    was_improving = recipe.cycles and summary["cells"] == "validation" and summary["best_step"] == recipe.max_steps
    scores = {key: float(value) for key, value in summary.items() if key.startswith(("foscttm", "correlation"))}
    shown = []
    for key, value in scores.items():
        measure, a, b = key.split(" ", 2)
        beside = summary.get(f"kernel ridge {a} {b}")
        alone = "" if measure == "foscttm" or beside is None else f" (kernel ridge alone {float(beside):.3f})"
        shown.append(f"{measure} {a} → {b} {value:.3f}{alone}")
    logger.info(
        "trained in %.1f s, best step %d%s; %s",
        summary["seconds"],
        summary["best_step"],
        f", the last (max_steps={2 * recipe.max_steps} may find a better one)" if was_improving else "",
        f"on {summary['cells']} pairs: {', '.join(shown)}" if shown else "no pairs are known to score it by",
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


def _mean_correlation(measured: Matrix, impute: Callable[[slice], Array]) -> float:
    """Mean over the features that vary, of which a part is imputed at a time."""
    n, d = measured.shape
    step = max(1, VALUES // n)
    with np.errstate(invalid="ignore"):
        scores = [
            feature_correlation(measured[:, features], impute(features))
            for features in (slice(start, min(start + step, d)) for start in range(0, d, step))
        ]
    score = np.concatenate(scores)
    return float(np.nanmean(score)) if np.isfinite(score).any() else float("nan")


def described(model: JAMIE) -> str:
    """What a model is, in a few lines."""
    recipe = getattr(model, "recipe_", model.recipe)
    name = recipe if isinstance(recipe, str) else recipe.name
    if not hasattr(model, "network_"):
        return f"JAMIE, recipe {name!r}, not trained: call jm.tl.train(mdata) or model.fit(mdata)"
    lines = [
        f"JAMIE, recipe {name!r}, {model.recipe_.n_latent} latent dimensions, on {model.network_.log_weights.device}"
    ]
    for modality, preparation in model.preparations_.items():
        n_train, n_validation, n_held_out = model.seen_[modality].counts
        cells = f"{n_train + n_validation:,} training cells" + (f", {n_held_out:,} held out" if n_held_out else "")
        lines.append(f"    {modality}: {preparation.kind}, {len(preparation.features):,} features, {cells}")
    shown = [
        f"{key} {float(value):.3f}" for key, value in model.summary_.items() if key.startswith(("foscttm", "corr"))
    ]
    lines.append(
        f"    on {model.summary_['cells']} pairs: {', '.join(shown)}" if shown else "    no pairs to score it by"
    )
    return "\n".join(lines)
