"""The terms of the loss (eq. 4–9), each a pure function; rows are cells, g is the number of latent dimensions.

Arrays may have more dimensions before these two, for networks that are trained side by side; each has its own loss.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from jamie._checks import require_same_shape

from ._links import Links

AWAY = 1e20
"""Squared distance of a cell that is not there: far beyond any other, and finite, so that its gradient is 0."""


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
        return error.sum((-2, -1)) / (seen.sum((-2, -1)).clamp_min(1) * variance)
    mass = (seen.sum(-1) * weights).sum(-1)
    return (error.sum(-1) * weights).sum(-1) / (mass.clamp_min(1e-12) * variance)


def alignment(aggregated_x: Tensor, first: Tensor, second: Tensor, weights: Tensor | None = None) -> Tensor:
    """Distance of cells from their inferred partners (eq. 9): ‖M_x − F̃ M_y‖² / (g n), unbiased from two partners.

    `first` and `second` (n, g) are the M_y of two partners of each cell, drawn independently with the probabilities of
    its row of F̃. The expectation of (M_x − first)(M_x − second) is then eq. 9, where that of (M_x − first)² has the
    spread of the partners on top.
    """
    require_same_shape(aggregated_x, first, names=("aggregated_x", "first"))
    require_same_shape(aggregated_x, second, names=("aggregated_x", "second"))
    return _mean((aggregated_x - first) * (aggregated_x - second), weights)


class Contrast(NamedTuple):
    """Cells of two modalities beside each other, softmax(−‖μ_i − μ_j‖² / (g τ)), for all lists of links between them.

    A batch is contrasted within each of its blocks of as many cells, one after the other, which have all links among
    them: over all of a large batch it would take the square of its cells.
    """

    logits: Tensor  # (blocks, n_x, n_y)
    of_x: Tensor  # log of the sum over the cells of y, for each of x
    of_y: Tensor  # log of the sum over the cells of x, for each of y
    together: torch.Size  # of networks that are trained side by side

    @classmethod
    def between(
        cls,
        mean_x: Tensor,
        mean_y: Tensor,
        temperature: float,
        *,
        n_blocks: int = 1,
        present_x: Tensor | None = None,
        present_y: Tensor | None = None,
    ) -> Contrast:
        """Of two modalities in `n_blocks` blocks; cells that are not `present`, (n,), only fill a block up."""
        scale = -1 / (mean_x.shape[-1] * temperature)
        x, y = (mean.reshape(-1, mean.shape[-2] // n_blocks, mean.shape[-1]) for mean in (mean_x, mean_y))
        apart = _size(x, present_x).unsqueeze(2) + _size(y, present_y).unsqueeze(1)
        logits = torch.baddbmm(apart, x, y.mT, beta=scale, alpha=-2 * scale)
        return cls(logits, logits.logsumexp(2).flatten(), logits.logsumexp(1).flatten(), mean_x.shape[:-2])

    @property
    def T(self) -> Contrast:
        """The same with sides exchanged."""
        return Contrast(self.logits.mT, self.of_y, self.of_x, self.together)

    def loss(self, links: Links) -> Tensor:
        """Each cell should be nearer to its partner than to the other cells of the batch.

        Symmetric cross-entropy of the softmax against the pairs, a mean over the cells of x with a partner, each pair
        times its confidence; not part of the paper. Cells without a partner only serve as the others.
        """
        n_y = self.logits.shape[2]
        rows, columns = links.rows, links.columns
        logits = self.logits.flatten().index_select(0, rows * n_y + columns % n_y)
        both = self.of_x.index_select(0, rows) + self.of_y.index_select(0, columns)
        per_link = links.confidence * (0.5 * both - logits)
        per_cell = per_link.new_zeros(links.shape[0]).index_add(0, rows, per_link)
        linked = per_link.new_zeros(links.shape[0]).index_add(0, rows, links.confidence) > 0
        return per_cell.view(*self.together, -1).sum(-1) / linked.view(*self.together, -1).sum(-1).clamp_min(1)


def _size(mean: Tensor, present: Tensor | None) -> Tensor:
    """‖μ_i‖² of each cell; of those that are not there so much that they are far from all, (blocks, n)."""
    size = mean.square().sum(-1)
    if present is None:
        return size
    return size + AWAY * (1 - present.reshape(size.shape))


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over cells and dimensions, (n, g), cells weighted."""
    if weights is None:
        return values.mean((-2, -1))
    return (values.mean(-1) * weights).sum(-1) / weights.sum(-1).clamp_min(1e-12)
