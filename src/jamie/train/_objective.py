"""The loss of one batch (eq. 1): named terms, weighed by the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from jamie._types import Pair
from jamie.data import Batch
from jamie.nn import Compared, Contrast, Outputs, alignment, combination, kl_divergence, picked, reconstruction

from ._recipe import Recipe


class Target(NamedTuple):
    """How reconstructions of one modality are compared."""

    variance: float  # mean variance of a prepared component, after scaling
    project: Tensor | None  # (k, d) components → standardised features, where values are missing


class Losses(NamedTuple):
    """Terms of one batch before weighing, and their weighted total; of several networks one of each."""

    total: Tensor
    kl: Tensor
    combination: Tensor
    reconstruction: Tensor
    cross: Tensor
    contrastive: Tensor
    alignment: Tensor


def objective(
    outputs: Outputs, batch: Batch, targets: Mapping[str, Target], recipe: Recipe, kappa: float | Tensor
) -> Losses:
    """Weigh eq. 4, 6, 7, 9 and the two terms of our own; sums over modalities, as in the paper.

    Eq. 9, and what inferred partners add to the contrastive term, are 0 without an inferred correspondence.
    """
    names = list(outputs.mean)
    zero = outputs.mean[names[0]].new_zeros(outputs.mean[names[0]].shape[:-2])
    weights = batch.weights or dict.fromkeys(names)
    kl = torch.stack([kl_divergence(outputs.mean[m], outputs.log_variance[m], weights[m]) for m in names]).sum(0)
    moved = torch.stack([combination(outputs.latent[m], outputs.aggregated[m], weights[m]) for m in names]).sum(0)
    own = torch.stack([_own_error(outputs, batch, m, targets[m], weights[m]) for m in names]).sum(0)
    crossed, paired, aligned = zero, zero, zero
    if outputs.crossed:
        terms = [_paired_error(outputs, batch, pair, targets) for pair in outputs.crossed]
        crossed = torch.stack(terms).sum(0) if terms else zero
    if recipe.contrastive:
        between = _Contrasts(outputs, batch, recipe.temperature)
        terms = [between(pair).loss(links) for pair, links in batch.known.items()]
        terms += [recipe.inferred * between(pair).loss(partners.links) for pair, partners in batch.inferred.items()]
        paired = torch.stack(terms).sum(0) if terms else zero
    if recipe.alignment:
        terms = [_alignment(outputs, batch, pair) for pair in batch.inferred]
        aligned = torch.stack(terms).sum(0) if terms else zero
    total = (
        recipe.kl * kappa * kl
        + recipe.combination * moved
        + recipe.reconstruction * own
        + recipe.cross * crossed
        + recipe.contrastive * paired
        + recipe.alignment * aligned
    )
    return Losses(total, kl, moved, own, crossed, paired, aligned)


class _Contrasts:
    """The contrast of each pair of modalities in a batch, computed once for known and inferred partners."""

    def __init__(self, outputs: Outputs, batch: Batch, temperature: float) -> None:
        self._mean, self._temperature, self._n_blocks = outputs.mean, temperature, batch.n_blocks
        self._present: Mapping[str, Tensor | None] = batch.present or dict.fromkeys(outputs.mean)
        self._found: dict[Pair, Contrast] = {}

    def __call__(self, pair: Pair) -> Contrast:
        a, b = pair
        if (b, a) in self._found:
            return self._found[b, a].T
        if pair not in self._found:
            self._found[pair] = Contrast.between(
                self._mean[a],
                self._mean[b],
                self._temperature,
                n_blocks=self._n_blocks,
                present_x=self._present[a],
                present_y=self._present[b],
            )
        return self._found[pair]


def _alignment(outputs: Outputs, batch: Batch, pair: Pair) -> Tensor:
    """Eq. 9 of the cells of a that were given partners in b, weighed as they are in the batch."""
    a, b = (outputs.aggregated[name] for name in pair)
    partners, together = batch.inferred[pair], a.shape[:-2]
    weights = batch.weights[pair[0]].flatten()[partners.queries] if batch.weights else partners.asked
    if weights is not None and partners.asked is not None:
        weights = weights * partners.asked

    def latents(of: Tensor, at: Tensor) -> Tensor:
        return of.flatten(0, -2).index_select(0, at).view(*together, -1, of.shape[-1])

    return alignment(
        latents(a, partners.queries),
        latents(b, partners.first),
        latents(b, partners.second),
        None if weights is None else weights.view(*together, -1),
    )


def _own_error(outputs: Outputs, batch: Batch, name: str, target: Target, weights: Tensor | None) -> Tensor:
    cells = batch.compared.own.get(name)
    weights = None if weights is None else picked(weights.unsqueeze(-1), cells).squeeze(-1)
    return reconstruction(*_against_measured(outputs.decoded[name], batch, name, target, cells), weights)


def _paired_error(outputs: Outputs, batch: Batch, pair: Pair, targets: Mapping[str, Target]) -> Tensor:
    """Error of b predicted from a, a mean over the cells of b with a partner, each times the pair's confidence."""
    (_, b), (decoded, confidence) = pair, outputs.crossed[pair]
    cells = batch.compared.crossed.get(pair)
    error = reconstruction(*_against_measured(decoded, batch, b, targets[b], cells), confidence)
    return error * confidence.sum(-1) / (confidence > 0).sum(-1).clamp_min(1)


def held_out_error(outputs: Outputs, batch: Batch, targets: Mapping[str, Target]) -> Tensor:
    """Error of each modality predicted from each other, by the mean of all networks."""
    outputs, batch = _of_all_networks(outputs, batch)
    return torch.stack([_paired_error(outputs, batch, pair, targets) for pair in outputs.crossed]).sum()


def held_out_cells(outputs: Outputs, batch: Batch, targets: Mapping[str, Target]) -> list[Tensor]:
    """The same error of each cell with a partner, for each modality predicted from each other."""
    outputs, batch = _of_all_networks(outputs, batch)
    return [cell_errors(outputs, batch, pair, targets) for pair in outputs.crossed]


def _of_all_networks(outputs: Outputs, batch: Batch) -> tuple[Outputs, Batch]:
    """What networks that were given the same cells say of them together; only what crosses and is measured."""
    if next(iter(batch.inputs.values())).ndim == 2:
        return outputs, batch
    crossed = {pair: (decoded.mean(0), confidence[0]) for pair, (decoded, confidence) in outputs.crossed.items()}
    inputs, values = ({name: x[0] for name, x in some.items()} for some in (batch.inputs, batch.values))
    n_networks = len(next(iter(batch.inputs.values())))
    cells = {pair: rows[: len(rows) // n_networks] for pair, rows in batch.compared.crossed.items()}
    batch = batch._replace(inputs=inputs, values=values, compared=Compared(crossed=cells))
    return outputs._replace(crossed=crossed), batch


def cell_errors(outputs: Outputs, batch: Batch, pair: Pair, targets: Mapping[str, Target]) -> Tensor:
    """Error of each cell of b with a partner, predicted from a, times the pair's confidence."""
    (_, b), (decoded, confidence) = pair, outputs.crossed[pair]
    cells = batch.compared.crossed.get(pair)
    decoded, measured, variance = _against_measured(decoded, batch, b, targets[b], cells)
    has = confidence > 0
    if not has.any():
        return confidence[has]
    return confidence[has] * reconstruction(decoded[has].unsqueeze(1), measured[has].unsqueeze(1), variance)


def _against_measured(
    decoded: Tensor, batch: Batch, name: str, target: Target, cells: Tensor | None
) -> tuple[Tensor, Tensor, float]:
    """What eq. 7 compares, and in units of what: components, which up to a constant is the same as features.

    Where values are missing it is the features.
    """
    if target.project is None:
        return decoded, picked(batch.inputs[name], cells), target.variance
    return decoded @ target.project, picked(batch.values[name], cells), 1.0
