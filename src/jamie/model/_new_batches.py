"""Learn from cells without partners what a new batch changes in the values of each feature.

A decoder gives back what the training cells would have in place of a new cell: on the imputed scale its residuals have
mean 0 over cells like those. So the effect β of a new batch on a feature is the one that, taken off, leaves the mean of
the residuals at 0,

    Σ_i m(x_i e^{−β}) − decode(μ(x e^{−β}))_i = 0,

with m the imputed scale: a Newton step on each feature, then the cells are encoded anew, until the effects stay. What
the new batch changes is not what the network can give back, so that little of it ends in the residuals at first and
more each round. An effect is shrunk by τ² / (τ² + s²), s its standard error and τ² what all effects have beyond theirs:
where the new batch is like the others nothing is taken off. Cells of other batches stay as they are, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._settings import logger
from jamie._spread import spread
from jamie._types import Array, Matrix
from jamie.data import Cells, Effects, Preparation

from ._adapt import may_learn

LEAST_CELLS = 20
"""Cells of a new batch, to learn what it changes."""
MOST_CELLS = 3_000
"""That it is learned from."""
ROUNDS = 10
ENOUGH = 0.02
"""Root mean square by which effects may still change in a round."""
LARGEST_STEP = 1.0
LEAST_SLOPE = 0.02
"""Of the imputed scale in the effect: a feature that is hardly ever measured tells none."""


class Decoder(Protocol):
    """What is asked of a model."""

    preparations_: dict[str, Preparation]

    def encode(self, inputs: Array, name: str) -> Array:
        """Latents of prepared inputs."""

    def decode(self, latent: Array, name: str, columns: Array | slice = slice(None)) -> Array:
        """Features from latents."""


class NewBatch(NamedTuple):
    """Values of some cells of a new batch as they are stored, and what else is taken off them."""

    x: Matrix  # (n, d) of the features that are there
    design: Array  # (n, 1 + c): the code of the batch, covariates
    columns: Array | slice  # features of the model that are there


def with_new_batches(
    preparations: Mapping[str, Preparation], batches: Mapping[str, list[str]]
) -> dict[str, Preparation]:
    """Preparations that take the named batches of their modality for batches without an effect."""
    found = dict(preparations)
    for name, new in batches.items():
        effects = preparations[name].effects
        if effects is not None and new:
            nothing = np.zeros((len(new), effects.of_batch.shape[1]), np.float32)
            more = replace(effects, batches=(*effects.batches, *new), of_batch=np.vstack([effects.of_batch, nothing]))
            found[name] = replace(preparations[name], effects=more)
    return found


def new_batches(preparations: Mapping[str, Preparation], mdata: MuData) -> dict[str, list[str]]:
    """Batches that the training did not have, by modality of a MuData, of a model that takes effects of batches off."""
    found = {}
    for name, preparation in preparations.items():
        if preparation.effects is not None and name in getattr(mdata, "mod", {}):
            found[name] = preparation.effects.unknown(mdata, name)
    return found


def learn_new_batches(model: Decoder, cells: Cells, batches: Mapping[str, list[str]]) -> dict[str, Array]:
    """Have a model take off what new batches change, in place; which cells told it, rows by modality."""
    told: dict[str, Array] = {}
    for name, new in batches.items():
        rows = []
        for batch in new:
            preparation, of_batch = learn_new_batch(model, cells, name, batch, may_learn(cells, name))
            model.preparations_ = {**model.preparations_, name: preparation}
            rows.append(of_batch)
        if any(map(len, rows)):
            told[name] = np.sort(np.concatenate(rows))
    return told


def learn_new_batch(model: Decoder, cells: Cells, name: str, batch: str, allowed: Array) -> tuple[Preparation, Array]:
    """The preparation of a modality that knows what a new batch changes, and the cells that told it, rows.

    `allowed` are cells that may be learned from, (n_m,) bool; the preparation of the model has the batch, without an
    effect.
    """
    preparation = model.preparations_[name]
    effects = preparation.effects
    assert effects is not None  # it has the batch
    code = effects.batches.index(batch)
    design = effects.design(cells.mdata, name)
    rows = np.flatnonzero((design[:, 0] == code) & allowed)
    if preparation.kind == "accessibility":
        logger.warning("%r: what %r changes is not learned of regions, which are open or closed", name, batch)
        return preparation, rows[:0]
    if len(rows) < LEAST_CELLS:
        logger.warning(
            "%r: %d cells of %r do not tell what it changes, which takes %d; they are taken for cells of the average "
            "batch", name, len(rows), batch, LEAST_CELLS,
        )  # fmt: skip
        return preparation, rows[:0]
    rows = rows[spread(len(rows), MOST_CELLS)]
    matched = cells.matched(name)
    new = NewBatch(matched.cells[rows], design[rows], matched.columns)
    for _ in range(ROUNDS):
        updated, change = _step(model, preparation, new, name, code)
        preparation = replace(preparation, effects=updated)
        if change < ENOUGH:
            break
    effect = updated.of_batch[code][new.columns]
    logger.info(
        "%r: what %r changes was learned from %d cells without partners, %s of sd %.2f; cells of other batches stay",
        name, batch, len(rows), "logarithms of factors" if updated.is_factor else "differences", effect.std(),
    )  # fmt: skip
    return preparation, rows


def _step(model: Decoder, preparation: Preparation, new: NewBatch, name: str, code: int) -> tuple[Effects, float]:
    """Effects after one step, and the root mean square by which that of the batch changed."""
    effects, columns = preparation.effects, new.columns
    assert effects is not None
    before = effects.of_batch[code][columns]
    values = effects.removed(new.x, new.design, columns)
    measured = preparation.measured(values, columns)
    measured = measured.toarray() if sparse.issparse(measured) else measured
    latent = model.encode(preparation.transform(values, columns), name)
    off = measured - model.decode(latent, name, columns)
    n = np.maximum((~np.isnan(off)).sum(axis=0), 1)
    mean = np.nansum(off, axis=0) / n
    error = np.sqrt(np.nansum(np.square(off - mean), axis=0)) / n
    slope = _slope(measured, preparation.kind, is_factor=effects.is_factor)
    told = slope > LEAST_SLOPE if effects.is_factor else n > 1
    at = before + np.where(told, mean / np.where(told, slope, 1), 0).clip(-LARGEST_STEP, LARGEST_STEP)
    spread_ = np.where(told, error / np.where(told, slope, 1), np.inf)
    unit = np.ones(len(at)) if effects.is_factor else preparation.sd[columns]
    after = _level(_shrunk(at / unit, spread_ / unit) * unit, preparation, columns)
    of_batch = effects.of_batch.copy()
    of_batch[code, columns] = after.astype(np.float32)
    change = float(np.sqrt(np.mean(np.square((after - before) / unit))))
    return replace(effects, of_batch=of_batch), change


def _slope(measured: Array, kind: str, *, is_factor: bool) -> Array:
    """By how much the mean of each feature on the imputed scale falls, of a small effect that is taken off, (d,)."""
    if not is_factor:
        return np.ones(measured.shape[1])
    x = measured if kind == "continuous" else -np.expm1(-measured.clip(0))  # x / (1 + x) of log1p(x)
    return np.nan_to_num(np.nanmean(x, axis=0))


def _shrunk(effect: Array, error: Array) -> Array:
    """Effects less what their standard errors make of them."""
    known = np.isfinite(error) & (error > 0)
    if not known.any():
        return np.zeros_like(effect)
    weight = 1 / np.square(error[known])
    beyond = float((weight * (np.square(effect[known]) - np.square(error[known]))).sum() / weight.sum())
    prior = max(beyond, 0.0)
    found = np.zeros_like(effect)
    found[known] = effect[known] * prior / (prior + np.square(error[known]))
    return found


def _level(effect: Array, preparation: Preparation, columns: Array | slice) -> Array:
    """Effects without what they have in common, which is the size of a cell."""
    if preparation.kind == "counts":
        level = np.expm1(preparation.mean[columns].clip(0)).astype(np.float64)
        return effect - np.log(np.exp(effect) @ level / level.sum()) * (effect != 0) if level.sum() else effect
    return effect - effect.mean() if preparation.kind == "protein" else effect
