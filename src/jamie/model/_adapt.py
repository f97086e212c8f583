"""Learn from pairs of new cells what a trained model gets wrong in them, and leave the rest of it as it is.

The kernel regression gets the new cells as further landmarks, and all landmarks, n new and l old ones,
coefficients that are c = (K + α I)⁻¹ t / w more: K is the kernel among them at the rate it has, w its share, and t what
the imputation leaves of the new targets, but 0 at the old landmarks, which are training cells: they hold the answers
of the reference. α is chosen by leaving each new pair out, in closed form, beside no change at all. Networks,
preparations and so all latents stay.

Without the old landmarks in the fit, answers of the reference move by 0.2 to 0.4 sd of what is imputed, with them by at
most 0.15, and held-out cells of a new batch gain as much (citeseq_pbmc_mosaic, 20 to 100 pairs, seed 10).
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch

from jamie._errors import InvalidValueError
from jamie._settings import logger
from jamie._spread import spread
from jamie._types import Array
from jamie.data import NEW, Cells, SeenCells
from jamie.nn import Ensemble, KernelMix

LEAST = 10
"""New pairs, as for a kernel regression at first."""
MOST = 1_000
"""New landmarks."""
ALPHAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
GAIN = 0.99
"""Of the error with no change, that the best must be below."""
LEAST_SHARE = 0.05
"""Of the kernel in the imputation, below which it cannot carry a change."""


class Change(NamedTuple):
    """A kernel regression that knows new cells, and what it changes."""

    kernel_mix: KernelMix
    before: float  # mean squared error of the new pairs
    after: float  # the same, each left out in turn
    moved: float  # root mean square change of the imputed values of the old landmarks, in their sd


def adapt_kernel_mixes(
    network: Ensemble,
    cells: Cells,
    divisors: dict[str, float],
    seen: dict[str, SeenCells],
    *,
    may_lack_pairs: bool = False,
) -> dict[str, SeenCells]:
    """Adapt all kernel regressions of a network, in place, to pairs of cells that the model has not met.

    Cells that `pp.split` holds out are left alone. Returns the cells that the model has seen then.

    Raises
    ------
    InvalidValueError
        If there is no kernel regression, or there are too few such pairs, unless these may lack.
    """
    names = list(seen)
    told = {name: np.zeros((len(cells.cells(name)), len(names)), dtype=np.uint8) for name in cells.names}
    n_most, has_kernel = 0, False
    for source, target in permutations(cells.names, 2):
        kernel_mix = network.kernel_mix(source, target)
        if kernel_mix is None:
            continue
        rows, partners = _new_pairs(cells, source, target)
        n_most, has_kernel = max(n_most, len(rows)), True
        if len(rows) < LEAST:
            continue
        change = _changed(network, kernel_mix, cells, divisors, (source, target), rows, partners)
        if change is None:
            logger.info("%s → %s stays: %d new pairs tell nothing that it lacks", source, target, len(rows))
            continue
        network.add_kernel_mix(source, target, change.kernel_mix)
        told[source][rows, names.index(target)], told[target][partners, names.index(source)] = 1, 1
        logger.info(
            "%s → %s adapted to %d new pairs: %.0f %% of their squared error is left, each left out in turn; imputed "
            "values of training cells move by %.3f sd, latents not at all",
            source, target, len(rows), 100 * change.after / change.before, change.moved,
        )  # fmt: skip
    if (not has_kernel or n_most < LEAST) and not may_lack_pairs:
        raise InvalidValueError(_why_not(cells, n_most, has_kernel=has_kernel))
    return seen | {name: _with(seen[name], cells, name, of_name) for name, of_name in told.items() if of_name.any()}


def _new_pairs(cells: Cells, source: str, target: str) -> tuple[Array, Array]:
    """Pairs of cells that the model has not met, held out by no split, and measured in all features of the target."""
    rows, partners = cells.likeliest(source, target)
    chosen = ~cells.prepared(target).is_partial[partners] & cells.matched(target).is_complete
    for name, of in ((source, rows), (target, partners)):
        chosen &= may_learn(cells, name)[of]
    rows, partners = rows[chosen], partners[chosen]
    some = spread(len(rows), MOST)
    return rows[some], partners[some]


def may_learn(cells: Cells, name: str) -> Array:
    """Which cells of a modality the model has not met, and the split of this MuData does not hold out, (n,) bool."""
    is_new = cells.role(name) == NEW
    if cells.split is None:
        return is_new
    return is_new & (cells.mdata.obs[cells.split].astype(object).to_numpy()[cells.rows(name)] != "test")


@torch.inference_mode()
def _changed(
    network: Ensemble,
    kernel_mix: KernelMix,
    cells: Cells,
    divisors: dict[str, float],
    pair: tuple[str, str],
    rows: Array,
    partners: Array,
) -> Change | None:
    """The kernel regression with new landmarks; `None` if left-out pairs are no better for it."""
    source, target = pair
    share = float(kernel_mix.mix_weight)
    if share < LEAST_SHARE:
        return None
    x = torch.as_tensor(cells.inputs(source)[rows] / np.float32(divisors[source]), device=network.device)
    y = cells.inputs(target)[partners] / divisors[target]
    left = y - network.impute(source, target, x).cpu().numpy().astype(np.float64)
    z, n = torch.cat([kernel_mix.coordinates(x), kernel_mix.landmarks]), len(rows)
    distance = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = torch.exp(-kernel_mix.rate * distance).cpu().numpy().astype(np.float64)
    wanted = np.vstack([left, np.zeros((len(z) - n, left.shape[1]))])
    fits = [_ridge(kernel, wanted, alpha) for alpha in ALPHAS]
    errors = [float(np.mean(left_out[:n] ** 2)) for _, left_out in fits]
    best, before = int(np.argmin(errors)), float(np.mean(left**2))
    if not errors[best] < GAIN * before:
        return None
    coefficients = fits[best][0]
    sd = (kernel[n:, n:] @ kernel_mix.coefficients.cpu().numpy()).std(axis=0)
    moved = np.sqrt(np.mean((kernel[n:] @ coefficients) ** 2) / max(np.mean(sd**2), 1e-12))
    more = torch.as_tensor((coefficients / share).astype(np.float32), device=network.device)
    return Change(
        KernelMix(
            torch.cat([kernel_mix.landmarks, z[:n]]),
            torch.cat([kernel_mix.coefficients + more[n:], more[:n]]),
            origin=kernel_mix.origin,
            directions=kernel_mix.directions,
            offset=kernel_mix.offset,
            rate=kernel_mix.rate,
            mix_weight=kernel_mix.mix_weight,
        ),
        before,
        errors[best],
        float(moved),
    )


def _ridge(kernel: Array, wanted: Array, alpha: float) -> tuple[Array, Array]:
    """Coefficients of kernel ridge regression, and what a fit on all others leaves of each cell, (n, k) both."""
    inverse = np.linalg.inv(kernel + alpha * np.eye(len(kernel)))
    coefficients = inverse @ wanted
    return coefficients, coefficients / np.diag(inverse)[:, None]


def _with(seen: SeenCells, cells: Cells, name: str, told: Array) -> SeenCells:
    """The seen cells, and those of which a partner was told in any modality, (n, m)."""
    chosen = told.any(axis=1)
    return seen.and_learned(cells.cells(name)[chosen], cells.prepared(name).digests[chosen], told[chosen])


def with_lone_cells(seen: SeenCells, cells: Cells, name: str, rows: Array) -> SeenCells:
    """The seen cells, and those of these rows that are not among them, of which no partner was told."""
    names, values = cells.cells(name)[rows], cells.prepared(name).digests[rows]
    unmet = seen.places(names, values) < 0
    nobody = np.zeros((int(unmet.sum()), seen.partners.shape[1]), dtype=np.uint8)
    return seen.and_learned(names[unmet], values[unmet], nobody)


def _why_not(cells: Cells, n_pairs: int, *, has_kernel: bool) -> str:
    if not has_kernel and len(cells.names) > 1:
        return (
            "expected a model with a kernel regression, which is what adapts, found none between "
            f"{' and '.join(map(repr, cells.names))}; train with recipe='default' on 10 pairs or more"
        )
    return (
        f"expected at least {LEAST} pairs of cells that the model has not met, found {n_pairs}, without those that "
        "pp.split holds out; record more with jm.pp.correspondence(mdata, pairs=...), or use the model as it is: "
        "jm.tl.embed(mdata, model). Without pairs a model that was trained with batch_key=... learns a new batch"
    )
