"""The loss of one batch (eq. 1): named terms, weighed by the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from jamie._types import Pair
from jamie.data import Batch
from jamie.nn import Links, Outputs, alignment, combination, contrastive, kl_divergence, reconstruction

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
    own = torch.stack([_error(outputs.decoded[m], batch, m, targets[m], weights[m]) for m in names]).sum(0)
    crossed, paired, aligned = zero, zero, zero
    if outputs.crossed:
        terms = [_paired_error(outputs, batch, pair, targets) for pair in outputs.crossed]
        crossed = torch.stack(terms).sum(0) if terms else zero
    if recipe.contrastive:
        terms = [_contrast(outputs, batch, pair, links, recipe) for pair, links in batch.known.items()]
        terms += [
            recipe.inferred * _contrast(outputs, batch, pair, partners.links, recipe)
            for pair, partners in batch.inferred.items()
        ]
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


def _contrast(outputs: Outputs, batch: Batch, pair: Pair, links: Links, recipe: Recipe) -> Tensor:
    a, b = pair
    present = batch.present or dict.fromkeys(pair)
    return contrastive(
        outputs.mean[a],
        outputs.mean[b],
        links,
        recipe.temperature,
        n_blocks=batch.n_blocks,
        present_x=present[a],
        present_y=present[b],
    )


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


def _paired_error(outputs: Outputs, batch: Batch, pair: Pair, targets: Mapping[str, Target]) -> Tensor:
    """Error of b predicted from a, a mean over the cells of b with a partner, each times the pair's confidence."""
    (_, b), (decoded, confidence) = pair, outputs.crossed[pair]
    error = _error(decoded, batch, b, targets[b], confidence)
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
    first = [{name: x[0] for name, x in some.items()} for some in (batch.inputs, batch.values)]
    return outputs._replace(crossed=crossed), batch._replace(inputs=first[0], values=first[1])


def cell_errors(outputs: Outputs, batch: Batch, pair: Pair, targets: Mapping[str, Target]) -> Tensor:
    """Error of each cell of b with a partner, predicted from a, times the pair's confidence."""
    (_, b), (decoded, confidence) = pair, outputs.crossed[pair]
    decoded, measured, variance = _compared(decoded, batch, b, targets[b])
    has = confidence > 0
    if not has.any():
        return confidence[has]
    return confidence[has] * reconstruction(decoded[has].unsqueeze(1), measured[has].unsqueeze(1), variance)


def _error(decoded: Tensor, batch: Batch, name: str, target: Target, weights: Tensor | None = None) -> Tensor:
    return reconstruction(*_compared(decoded, batch, name, target), weights)


def _compared(decoded: Tensor, batch: Batch, name: str, target: Target) -> tuple[Tensor, Tensor, float]:
    """What eq. 7 compares, and in units of what: components, which up to a constant is the same as features.

    Where values are missing it is the features.
    """
    if target.project is None:
        return decoded, batch.inputs[name], target.variance
    return decoded @ target.project, batch.values[name], 1.0
