"""Three branches seen twice: the kind of simulation on which methods without known pairs are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from jamie._checks import generator
from jamie._errors import InvalidValueError

from ._assemble import LABELS, PSEUDOTIME, assemble, modality

if TYPE_CHECKING:
    from mudata import MuData

    from jamie._types import Array, Seed

WIDTH = 0.08
"""Standard deviation of the cells across their branch."""
N_HIDDEN = 32
"""LinkedCells between the latent plane and the features of view y."""
N_ROWS = 4096
"""Cells that get their noise at a time, and that the scale of a view is taken from."""


class Branch(NamedTuple):
    """An arc that leaves the origin."""

    length: float
    heading: float  # radians
    bend: float  # radians per unit of length


TREE = (Branch(1.0, 1.6, 0.5), Branch(1.6, 3.5, 0.6), Branch(2.4, 5.7, 0.5))


def branching_manifold(
    *, n_cells: int = 300, n_features: tuple[int, int] = (1000, 2000), noise: float = 0.2, rng: Seed = 0
) -> MuData:
    r"""Simulate cells of three joined branches, measured in two unlike nonlinear views.

    Cells lie on a tree in the plane, with some width. View `x` is a bank of cosine waves over the plane, view `y` a
    random network with two layers of tanh: they share no feature and bend the tree differently, yet both keep who is
    whose neighbour. The branches differ in length, so the tree fits itself in one way only and the cells can be matched
    from the shape alone.

    Parameters
    ----------
    n_cells
        Cells, every one of them in both views; as many in each branch as divide evenly.
    n_features
        Features of `x` and of `y`. With 50 each, 200,000 cells take 80 MB.
    noise
        Standard deviation of the Gaussian noise, relative to that of the view: at 1, half of the variance is noise.
    rng
        Seed or generator. The same seed gives the same cells in the same order.

    Returns
    -------
    Modalities `"x"` and `"y"`, dense float32, with the same `obs_names`, and

    `mdata.obs["cell_type"]`, also in each modality
        `"branch 1"`, `"branch 2"` or `"branch 3"`.
    `mdata.obs["pseudotime"]`, also in each modality
        Distance from the joint along the branch; the branches are 1, 1.6 and 2.4 long.
    `mdata.obsm["true_latent"]`
        Position in the plane, which both views were made from.

    Raises
    ------
    ValueError
        If there are fewer than three cells, an empty view or negative noise.

    Notes
    -----
    With z a position in the plane,

    .. math::
        x = \cos(z W + b), \qquad y = \tanh(\tanh(z A + a) B),

    each scaled to a mean variance of 1 per feature before the noise. The waves are the random features of [1]_; a
    simulation in the manner of the branched tree of MMD-MA [2]_, not a copy of it.

    References
    ----------
    .. [1] Rahimi and Recht (2007), *Random features for large-scale kernel machines*.
    .. [2] Liu et al. (2019), *Jointly embedding multiple single-cell omics measurements*.

    Examples
    --------
    >>> import jamie.datasets
    >>> mdata = jamie.datasets.branching_manifold(n_cells=90, n_features=(20, 30))
    >>> mdata["x"].shape, mdata["y"].shape
    ((90, 20), (90, 30))
    >>> mdata.obs["cell_type"].value_counts(sort=False).to_dict()
    {'branch 1': 30, 'branch 2': 30, 'branch 3': 30}
    """
    _check(n_cells, n_features, noise)
    rng = generator(rng)
    branch, pseudotime, latent = _cells_on_tree(n_cells, rng)
    cells = pd.DataFrame(
        {
            LABELS: pd.Categorical.from_codes(branch, [f"branch {k + 1}" for k in range(len(TREE))]),
            PSEUDOTIME: pseudotime,
        },
        index=[f"cell{i + 1}" for i in range(n_cells)],
    )
    views = {"x": _waves(latent, n_features[0], rng), "y": _network(latent, n_features[1], rng)}
    modalities = {m: modality(_measured(view, noise, rng), cells=cells, prefix=m) for m, view in views.items()}
    return assemble(modalities, cells=cells, latent=latent)


def _cells_on_tree(n_cells: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    branch = rng.permutation(np.arange(n_cells) % len(TREE))
    length, heading, bend = np.asarray(TREE)[branch].T
    along, across = length * rng.random(n_cells), WIDTH * rng.standard_normal(n_cells)
    turned = heading + bend * along
    centre = np.stack([np.sin(turned) - np.sin(heading), np.cos(heading) - np.cos(turned)], axis=1) / bend[:, None]
    normal = np.stack([-np.sin(turned), np.cos(turned)], axis=1)
    return branch, along, (centre + across[:, None] * normal).astype(np.float32)  # latent (n, 2)


def _waves(latent: Array, n_features: int, rng: np.random.Generator) -> Array:
    frequencies = rng.standard_normal((2, n_features), dtype=np.float32)
    phases = rng.uniform(0, 2 * np.pi, n_features).astype(np.float32)
    waves = latent @ frequencies
    waves += phases
    return np.cos(waves, out=waves)  # (n, d)


def _network(latent: Array, n_features: int, rng: np.random.Generator) -> Array:
    first = rng.standard_normal((2, N_HIDDEN), dtype=np.float32)
    offsets = rng.standard_normal(N_HIDDEN, dtype=np.float32)
    second = rng.standard_normal((N_HIDDEN, n_features), dtype=np.float32) * np.float32(2 / np.sqrt(N_HIDDEN))
    view = np.tanh(latent @ first + offsets) @ second
    return np.tanh(view, out=view)  # (n, d)


def _measured(view: Array, noise: float, rng: np.random.Generator) -> Array:
    """Scale to a mean variance of 1 and add noise, in place and by slices: there is no second matrix of this size."""
    view /= np.sqrt(view[:: 1 + len(view) // N_ROWS].var(axis=0).mean()) or 1
    for start in range(0, len(view), N_ROWS):
        rows = view[start : start + N_ROWS]
        rows += np.float32(noise) * rng.standard_normal(rows.shape, dtype=np.float32)
    return view


def _check(n_cells: int, n_features: tuple[int, int], noise: float) -> None:
    if n_cells < len(TREE):
        msg = f"expected `n_cells` of at least {len(TREE)}, one cell per branch, found {n_cells}"
        raise InvalidValueError(msg)
    if np.shape(n_features) != (2,) or min(n_features) < 1:
        msg = f"expected `n_features` to be two positive numbers, of x and of y, found {n_features!r}"
        raise InvalidValueError(msg)
    if not noise >= 0:
        msg = f"expected `noise` ≥ 0, found {noise!r}"
        raise InvalidValueError(msg)
