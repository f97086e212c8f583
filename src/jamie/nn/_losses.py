"""The terms of the loss (eq. 4–9), each a pure function; rows are cells, g is the number of latent dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from jamie._checks import require_same_shape


def kl_divergence(mean: Tensor, log_variance: Tensor, weights: Tensor | None = None) -> Tensor:
    """Divergence of the encoder from the prior, a mean over cells and dimensions (eq. 4, 5).

    1/(n g) Σ −½ (1 + v − μ² − eᵛ), with v the log-variance; κ of eq. 5 is applied by the schedule.
    """
    require_same_shape(mean, log_variance, names=("mean", "log_variance"))
    return _mean(-0.5 * (1 + log_variance - mean.square() - log_variance.exp()), weights)


def combination(latent: Tensor, aggregated: Tensor, weights: Tensor | None = None) -> Tensor:
    """How far aggregation moves the cells (eq. 6): ‖L − M‖² / (g n)."""
    require_same_shape(latent, aggregated, names=("latent", "aggregated"))
    return _mean((latent - aggregated).square(), weights)


def reconstruction(
    decoded: Tensor, measured: Tensor, variance: float | Tensor, weights: Tensor | None = None
) -> Tensor:
    """Squared error as a fraction of the variance (eq. 7): ‖X − X̃‖² / (n d s²).

    s² is the mean variance of a column, so 0 is perfect and 1 as bad as the mean. NaN in `measured` is missing: it is
    left out of the sum and of the count. `weights` (n,) weigh the cells in both; those of weight 0 are left out.
    """
    require_same_shape(decoded, measured, names=("decoded", "measured"))
    seen = ~torch.isnan(measured)
    error = torch.where(seen, decoded - measured.nan_to_num(), 0.0).square()
    if weights is None:
        return error.sum() / (seen.sum().clamp_min(1) * variance)
    mass = (seen * weights.unsqueeze(1)).sum()
    return (error * weights.unsqueeze(1)).sum() / (mass.clamp_min(1e-12) * variance)


def alignment(aggregated_x: Tensor, first: Tensor, second: Tensor, weights: Tensor | None = None) -> Tensor:
    """Distance of cells from their inferred partners (eq. 9): ‖M_x − F̃ M_y‖² / (g n), unbiased from two partners.

    `first` and `second` (n, g) are the M_y of two partners of each cell, drawn independently with the probabilities of
    its row of F̃. The expectation of (M_x − first)(M_x − second) is then eq. 9, where that of (M_x − first)² has the
    spread of the partners on top.
    """
    require_same_shape(aggregated_x, first, names=("aggregated_x", "first"))
    require_same_shape(aggregated_x, second, names=("aggregated_x", "second"))
    return _mean((aggregated_x - first) * (aggregated_x - second), weights)


def contrastive(mean_x: Tensor, mean_y: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Each cell should be nearer to its partner than to the other cells of the batch.

    Symmetric cross-entropy of softmax(−‖μ_i − μ_j‖² / (g τ)) against the pairs, a mean over the cells of x with a
    partner, each pair times its confidence; not part of the paper. Cells without a partner only serve as the others.
    """
    scaled = -torch.cdist(mean_x, mean_y).square() / (mean_x.shape[1] * temperature)  # (n_x, n_y)
    toward_y = (known * scaled.log_softmax(1)).sum()
    toward_x = (known * scaled.log_softmax(0)).sum()
    return -0.5 * (toward_x + toward_y) / (known.sum(1) > 0).sum().clamp_min(1)


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over cells and dimensions, (n, g), cells weighted."""
    if weights is None:
        return values.mean()
    return (values.mean(1) * weights).sum() / weights.sum().clamp_min(1e-12)
