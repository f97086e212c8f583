"""How far apart two samples of the same cells are for no other reason than that they are samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jamie._checks import generator, require_positive

from ._columns import known_mean, paired_columns
from ._comparison import js_distance
from ._numbers import matrix_of

if TYPE_CHECKING:
    from jamie._types import Array, Matrix, Seed

N_DRAWS = 2
FEWEST_HALF = 4  # cells: two samples of two or three share a bin by luck


def js_floor(measured: Matrix, n_cells: int, *, n_bins: int = 20, n_draws: int = N_DRAWS, rng: Seed = 0) -> Array:
    """Mean Jensen-Shannon distance of two samples of measured cells, per feature: the floor of that of imputed values.

    Histograms of few cells differ even if the cells are of one kind: two samples of a normal distribution are .89
    apart at 5 cells, .61 at 20, .39 at 50 and .19 at 200. :func:`jamie.metrics.js_distance` of imputed values is to be
    read beside this. Imputed values that vary like the measured ones, but are not independent of them, can be nearer.

    Two samples without a common cell are drawn. Where there are fewer than twice `n_cells` measured cells, the distance
    is carried on from that of their halves and quarters, along a power of the number of cells; of 20 cells of a normal
    distribution that gives .67 for .61, of 50 .41 for .39, of 100 and more what it is.

    Parameters
    ----------
    measured
        Values of cells of one kind, cells × features, dense or sparse.
    n_cells
        Size of either sample: as many cells as the distance beside it is of.
    n_bins
        Bins of each histogram.
    n_draws
        How often two samples are drawn.
    rng
        Seed or generator of the draws.

    Returns
    -------
    Distances (`d`); NaN where a feature does not vary, where fewer than two cells are asked for, or where there are
    neither twice `n_cells` nor 16 measured cells.

    Raises
    ------
    ValueError
        If there are no cells, or `n_bins` is below 2.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import js_floor
    >>> measured = np.random.default_rng(0).normal(size=(400, 200))
    >>> [round(float(js_floor(measured, n).mean()), 1) for n in (50, 200)]
    [0.4, 0.2]
    """
    require_positive(n_cells=n_cells, n_draws=n_draws)
    measured = matrix_of(measured, name="measured")
    paired_columns(measured, measured)  # which says what is wrong with it
    rng, n = generator(rng), measured.shape[0]

    def apart(size: int) -> Array:
        return known_mean(np.stack([_between_two(measured, size, n_bins, rng) for _ in range(n_draws)]), axis=0)

    if 2 * n_cells <= n:
        return apart(n_cells)
    half, quarter = n // 2, n // 4
    if quarter < FEWEST_HALF:
        return np.full(measured.shape[1], np.nan)
    of_half, of_quarter = apart(half), apart(quarter)
    both = np.isfinite(of_half) & np.isfinite(of_quarter)
    if not of_quarter[both].sum() > 0:
        return of_half
    # one power for all features, for that of a single one is mostly noise
    shrinks = min(1.0, of_half[both].sum() / of_quarter[both].sum())
    return of_half * shrinks ** (np.log(n_cells / half) / np.log(half / quarter))


def _between_two(measured: Matrix, size: int, n_bins: int, rng: np.random.Generator) -> Array:
    drawn = rng.permutation(measured.shape[0])[: 2 * size]
    return js_distance(measured[drawn[:size]], measured[drawn[size:]], n_bins=n_bins)
