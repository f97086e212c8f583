"""The loss of one batch (eq. 1): named terms, weighed by the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from jamie.data import Batch
from jamie.nn import Outputs, combination, contrastive, kl_divergence, reconstruction

from ._config import Recipe


class Target(NamedTuple):
    """How reconstructions of one modality are compared."""

    variance: float  # mean variance of a prepared component, after scaling
    project: Tensor | None  # (k, d) components → standardised features, where values are missing


class Losses(NamedTuple):
    """Terms of one batch before weighing, and their weighted total."""

    total: Tensor
    kl: Tensor
    combination: Tensor
    reconstruction: Tensor
    cross: Tensor
    contrastive: Tensor


def objective(outputs: Outputs, batch: Batch, targets: Mapping[str, Target], recipe: Recipe, kappa: float) -> Losses:
    """Weigh eq. 4, 6, 7 and the two terms of our own; sums over modalities, as in the paper.

    Eq. 9 needs an inferred correspondence and is left out where all pairs are known (section 4.6).
    """
    names = list(outputs.mean)
    zero = outputs.mean[names[0]].new_zeros(())
    kl = torch.stack([kl_divergence(outputs.mean[m], outputs.log_variance[m]) for m in names]).sum()
    moved = torch.stack([combination(outputs.latent[m], outputs.aggregated[m]) for m in names]).sum()
    own = torch.stack([_error(outputs.decoded[m], batch, m, targets[m]) for m in names]).sum()
    crossed, paired = zero, zero
    if outputs.crossed:
        terms = [
            _error(decoded, batch, b, targets[b], confidence)
            for (_, b), (decoded, confidence) in outputs.crossed.items()
        ]
        crossed = torch.stack(terms).sum() if terms else zero
    if recipe.contrastive:
        terms = [
            contrastive(outputs.mean[a], outputs.mean[b], f, recipe.temperature) for (a, b), f in batch.known.items()
        ]
        paired = torch.stack(terms).sum() if terms else zero
    total = (
        recipe.kl * kappa * kl
        + recipe.combination * moved
        + recipe.reconstruction * own
        + recipe.cross * crossed
        + recipe.contrastive * paired
    )
    return Losses(total, kl, moved, own, crossed, paired)


def _error(decoded: Tensor, batch: Batch, name: str, target: Target, weights: Tensor | None = None) -> Tensor:
    """Eq. 7 on components, which equals it on features up to a constant; on features where values are missing."""
    if target.project is None:
        return reconstruction(decoded, batch.inputs[name], target.variance, weights)
    return reconstruction(decoded @ target.project, batch.values[name], 1.0, weights)
