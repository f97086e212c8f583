"""The negative control: what a short training makes of permuted pairs, scored on the same held-out pairs."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._compat import quiet_mudata
from jamie._types import Pair
from jamie.data import HELD_OUT, Cells, labels
from jamie.metrics import feature_correlation, foscttm, known_mean
from jamie.model import JAMIE

from ._finding import Finding
from ._judged import JudgedPairs, judged_direction

STEPS = 300
"""Of the control: the first two cycles of the default recipe, by which most is learned where there is something."""
ABOVE = 0.1


def check_control(
    cells: Cells, model: JAMIE, judged: dict[Pair, JudgedPairs], rng: np.random.Generator
) -> list[Finding]:
    """Train once more with the training pairs permuted, and score both on the held-out pairs.

    What the pairs made possible collapses. What does not was not learned from them: copies of cells on both sides of
    the split, or something that all cells share.
    """
    if not judged:
        return [
            Finding(
                "control", "", "", float("nan"), float("nan"), "unknown",
                "the model has seen all pairs: none are left to score it and the control by",
                "Call jm.pp.split(mdata) before jm.tl.train(mdata).",
            )
        ]  # fmt: skip
    control = _trained_on_permuted(cells, model, rng)
    findings = []
    for (a, b), pairs in judged.items():
        latents = [
            control.encode(cells.inputs(name)[rows], name) for name, rows in zip((a, b), pairs.rows, strict=True)
        ]
        real, permuted = foscttm(*pairs.latents), foscttm(*latents)
        findings.append(_finding("control: alignment", (a, b), real, permuted, 0.5 - real, 0.5 - permuted))
        for source, target in ((a, b), (b, a)):
            scores = []
            for fitted in (model, control):
                of = judged_direction(cells, fitted, pairs, source)
                scores.append(float(np.nan_to_num(known_mean(feature_correlation(of.measured, of.imputed)))))
            findings.append(_finding("control: imputation", (source, target), *scores, *scores))
    return findings


def _finding(measure: str, pair: Pair, value: float, reference: float, gained: float, control_gained: float) -> Finding:
    """Judge a score of the model beside that of the control, both as what is gained over chance."""
    above = gained > control_gained + ABOVE and gained > 2 * control_gained
    return Finding(
        measure, *pair, value, reference, "good" if above else "bad",
        f"{value:.3f}, and {reference:.3f} with permuted pairs"
        + ("" if above else ": the pairs are not what made it work"),
        "" if above else "See the row 'pairs'; look for copies of held-out cells among the training cells, and for "
        "what all cells share, in the rows 'beyond depth'.",
    )  # fmt: skip


def _trained_on_permuted(cells: Cells, model: JAMIE, rng: np.random.Generator) -> JAMIE:
    """A model of the same recipe, in fewer steps and with one network, whose training pairs were dealt at random."""
    with quiet_mudata():
        mdata = MuData({name: cells.mdata[name] for name in cells.names})  # the same AnnData: nothing is copied
    split = np.full(mdata.n_obs, "test", dtype=object)
    for name in cells.names:
        split[mdata.obs_names.get_indexer(cells.cells(name)[cells.role(name) < HELD_OUT])] = "train"
    mdata.obs[cells.keys.split] = split
    for a, b in combinations(cells.names, 2):
        known = cells.known_of_training(a, b).tocoo()
        rows, columns = (mdata.obs_names.get_indexer(cells.cells(name)) for name in (a, b))
        dealt = rng.permutation(known.col)
        mdata.obsp[cells.keys.known(a, b)] = sparse.csr_matrix(
            (known.data, (rows[known.row], columns[dealt])), shape=(mdata.n_obs, mdata.n_obs)
        )
    recipe = model.recipe_
    steps = min(recipe.max_steps, STEPS)
    short = replace(recipe, max_steps=steps, min_steps=min(recipe.min_steps, steps), cycles=min(recipe.cycles, 2))
    layers = {name: preparation.layer or "X" for name, preparation in model.preparations_.items()}
    columns = [*([model.batch_key] if model.batch_key else []), *model.covariates]
    for column in columns:
        mdata.obs[column] = labels(cells.mdata, column).reindex(mdata.obs_names).to_numpy()
    control = JAMIE(
        short,
        n_networks=1,
        batch_key=model.batch_key,
        covariates=model.covariates,
        device=model.device,
        rng=rng,
    )
    return control.fit(mdata, layer=layers, key_added=cells.keys.prefix)
