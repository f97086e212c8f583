"""The loss of one batch (eq. 1): named terms, weighed by the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from jamie._types import Pair
from jamie.data import Batch
from jamie.nn import Outputs, alignment, combination, contrastive, kl_divergence, reconstruction

from ._recipe import Recipe


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
    alignment: Tensor


def objective(outputs: Outputs, batch: Batch, targets: Mapping[str, Target], recipe: Recipe, kappa: float) -> Losses:
    """Weigh eq. 4, 6, 7, 9 and the two terms of our own; sums over modalities, as in the paper.

    Eq. 9, and what inferred partners add to the contrastive term, are 0 without an inferred correspondence.
    """
    names = list(outputs.mean)
    zero = outputs.mean[names[0]].new_zeros(())
    weights = batch.weights or dict.fromkeys(names)
    kl = torch.stack([kl_divergence(outputs.mean[m], outputs.log_variance[m], weights[m]) for m in names]).sum()
    moved = torch.stack([combination(outputs.latent[m], outputs.aggregated[m], weights[m]) for m in names]).sum()
    own = torch.stack([_error(outputs.decoded[m], batch, m, targets[m], weights[m]) for m in names]).sum()
    crossed, paired, aligned = zero, zero, zero
    if outputs.crossed:
        terms = [_paired_error(outputs, batch, pair, targets) for pair in outputs.crossed]
        crossed = torch.stack(terms).sum() if terms else zero
    if recipe.contrastive:
        terms = [
            contrastive(outputs.mean[a], outputs.mean[b], f, recipe.temperature) for (a, b), f in batch.known.items()
        ]
        terms += [
            recipe.inferred * contrastive(outputs.mean[a], outputs.mean[b], partners.block, recipe.temperature)
            for (a, b), partners in batch.inferred.items()
        ]
        paired = torch.stack(terms).sum() if terms else zero
    if recipe.alignment:
        terms = [_alignment(outputs, batch, pair) for pair in batch.inferred]
        aligned = torch.stack(terms).sum() if terms else zero
    total = (
        recipe.kl * kappa * kl
        + recipe.combination * moved
        + recipe.reconstruction * own
        + recipe.cross * crossed
        + recipe.contrastive * paired
        + recipe.alignment * aligned
    )
    return Losses(total, kl, moved, own, crossed, paired, aligned)


def _alignment(outputs: Outputs, batch: Batch, pair: Pair) -> Tensor:
    """Eq. 9 of the cells of a that were given partners in b, weighed as they are in the batch."""
    a, b = (outputs.aggregated[name] for name in pair)
    rows, first, second, _ = batch.inferred[pair]
    return alignment(a[rows], b[first], b[second], None if batch.weights is None else batch.weights[pair[0]][rows])


def _paired_error(outputs: Outputs, batch: Batch, pair: Pair, targets: Mapping[str, Target]) -> Tensor:
    """Error of b predicted from a, a mean over the cells of b with a partner, each times the pair's confidence."""
    (_, b), (decoded, confidence) = pair, outputs.crossed[pair]
    return _error(decoded, batch, b, targets[b], confidence) * confidence.sum() / (confidence > 0).sum().clamp_min(1)


def cell_errors(outputs: Outputs, batch: Batch, pair: Pair, targets: Mapping[str, Target]) -> Tensor:
    """Error of each cell of b with a partner, predicted from a, times the pair's confidence."""
    (_, b), (decoded, confidence) = pair, outputs.crossed[pair]
    decoded, measured, variance = _compared(decoded, batch, b, targets[b])
    has = confidence > 0
    if not has.any():
        return confidence[has]
    return confidence[has] * torch.vmap(reconstruction, in_dims=(0, 0, None))(decoded[has], measured[has], variance)


def _error(decoded: Tensor, batch: Batch, name: str, target: Target, weights: Tensor | None = None) -> Tensor:
    return reconstruction(*_compared(decoded, batch, name, target), weights)


def _compared(decoded: Tensor, batch: Batch, name: str, target: Target) -> tuple[Tensor, Tensor, float]:
    """What eq. 7 compares, and in units of what: components, which up to a constant is the same as features.

    Where values are missing it is the features.
    """
    if target.project is None:
        return decoded, batch.inputs[name], target.variance
    return decoded @ target.project, batch.values[name], 1.0
