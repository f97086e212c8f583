"""Which cells train, which choose the weights, how batches are drawn and on what scale they are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from jamie._errors import InvalidValueError
from jamie._types import Array
from jamie.data import Draw, LinkedCells, ModalityView, Preparation, Problem, permuted, stratified, with_partners
from jamie.nn import Ensemble, JointVAE, initialise
from jamie.train import Recipe, Target

CONTRASTED = 2_048
"""Linked cells at most that are contrasted with each other; a larger batch has several blocks of them."""


def hold_out(units: LinkedCells, recipe: Recipe, rng: np.random.Generator) -> tuple[Array, Array]:
    """Linked cells to train on, and pairs to choose the weights by: none where that would leave too few to tell."""
    everyone = np.arange(len(units))
    paired = everyone[units.n_modalities >= 2]
    n = min(max(int(recipe.validation * len(paired)), min(20, len(paired) // 5)), 2_000)
    if not recipe.validation or n < 10:
        return everyone, everyone[:0]
    validation = np.sort(rng.choice(paired, n, replace=False))
    return np.setdiff1d(everyone, validation), validation


def size_of_batch(units: LinkedCells, recipe: Recipe) -> int:
    """The recipe's, or fewer linked cells where they are measured in more than two modalities on average.

    A step then sees as many cells as one of pairs. On three modalities of Patch-seq batches of 202 linked cells impute
    as well as those of 256 (mice held out, splits 10 to 19: .000 ± .001 over nine directions), in a tenth less time.
    Where epochs are counted, their batches stay, for a smaller one makes more of them.
    """
    if recipe.step_unit == "epoch":
        return recipe.batch_size
    return max(round(recipe.batch_size * min(2 / units.n_modalities.mean(), 1)), 1)


def draws(
    problem: Problem, units: LinkedCells, chosen: Array, recipe: Recipe, rng: np.random.Generator
) -> Iterator[Draw]:
    """Batches of the chosen units, with inferred partners where there are any."""
    n_blocks = -(-min(recipe.batch_size, len(chosen)) // CONTRASTED) if recipe.contrastive else 1
    batches = (
        stratified(units, chosen, size=recipe.batch_size, least_paired=recipe.least_paired, n_blocks=n_blocks, rng=rng)
        if recipe.least_paired
        else permuted(units, chosen, size=recipe.batch_size, n_blocks=n_blocks, rng=rng)
    )
    if not problem.inferred:
        return batches
    cells, allowed = units.cells(chosen), {}
    for name, view in problem.modalities.items():
        allowed[name] = np.zeros(len(view.cells), dtype=bool)
        allowed[name][cells[name]] = True
    return with_partners(batches, problem, allowed, known_too=recipe.rho < 1, rng=rng)


def require_batch(n_units: int, asked: int | None) -> None:
    """Raise if there are too few training cells."""
    least = 10 if asked is None else asked
    if n_units < least:
        msg = (
            f"expected at least {least} training "
            f"cells{'' if asked is None else ' for batch_size=' + str(asked)}, found "
            f"{n_units}; " + ("collect more cells" if asked is None else f"pass batch_size={n_units} or less")
        )
        raise InvalidValueError(msg)


def require_ranks(n: int, recipe: Recipe) -> None:
    """Raise if several processes train a network that normalises over the cells of a batch."""
    if n > 1 and recipe.norm == "batch":
        msg = (
            f"expected one process for recipe {recipe.name!r}, whose batch norm needs all cells of a batch, found {n}; "
            "train it without torchrun, or take recipe='default'"
        )
        raise InvalidValueError(msg)


def input_scale(view: ModalityView, recipe: Recipe) -> float:
    """Divide all components of a modality by this, so that they keep their relative variance."""
    variance = view.preparation.variance
    return float(np.sqrt(variance[0] if recipe.input_scale == "first" else variance.mean())) or 1.0


def loss_target(view: ModalityView, scale: float, device: torch.device) -> Target:
    """Tell the loss how to compare reconstructions of a modality whose components were divided by `scale`."""
    project = None if view.values is None else torch.from_numpy(view.preparation.loadings.T * scale).to(device)
    return Target(variance=float(view.preparation.variance.mean()) / scale**2, project=project)


def widths_of(preparations: Mapping[str, Preparation]) -> dict[str, int]:
    """Components by modality."""
    return {name: preparation.loadings.shape[1] for name, preparation in preparations.items()}


def network_of(widths: Mapping[str, int], recipe: Recipe) -> JointVAE:
    """Network of the recipe's shape, for inputs of these widths."""
    return JointVAE(
        widths,
        n_latent=recipe.n_latent,
        hidden={name: recipe.hidden_for(width) for name, width in widths.items()},
        norm=recipe.norm,
        dropout=recipe.dropout,
    )


def ensemble_of(widths: Mapping[str, int], recipe: Recipe, generator: torch.Generator) -> Ensemble:
    """As many networks as the recipe has, with first weights."""
    ensemble = empty_ensemble(widths, recipe)
    initialise(ensemble, generator)
    return ensemble


def empty_ensemble(widths: Mapping[str, int], recipe: Recipe) -> Ensemble:
    """The same, without weights and without memory for any."""
    with torch.device("meta"):
        return Ensemble([network_of(widths, recipe) for _ in range(recipe.n_networks)])


def require_side_by_side(recipe: Recipe) -> None:
    """Raise if networks that normalise over the cells of a batch are to be trained side by side."""
    if recipe.n_networks > 1 and recipe.norm == "batch":
        msg = (
            f"expected n_networks=1 for recipe {recipe.name!r}, whose batch norm cannot be trained side by side, found "
            f"{recipe.n_networks}; take recipe='default', or train models with different rng= and average them"
        )
        raise InvalidValueError(msg)


def widest(preparations: Mapping[str, Preparation], recipe: Recipe) -> int:
    """Units of the widest layer."""
    return max(max(recipe.hidden_for(preparation.loadings.shape[1])) for preparation in preparations.values())
