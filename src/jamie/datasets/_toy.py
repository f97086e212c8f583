"""A tiny set for examples and tests: quick to train on, with what trips code in real sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from jamie._checks import generator
from jamie._errors import InvalidValueError

from ._assemble import LABELS, assemble, modality

if TYPE_CHECKING:
    from mudata import MuData

    from jamie._types import Array, Seed

CELL_TYPES = ("type A", "type B", "type C")
N_GENES, N_PROTEINS = 40, 12
N_LATENT = 3


def toy(*, n_cells: int = 60, share_paired: float = 0.8, rng: Seed = 0) -> MuData:
    """Simulate a few cells of three types with counts of genes and proteins, some cells in one modality only.

    Both modalities follow one latent position per cell, so each can be told from the other. The proteins have their
    rows in an order of their own: cells are matched by name, never by position.

    Parameters
    ----------
    n_cells
        Cells in all; as many of each type as divide evenly.
    share_paired
        Share of the cells measured in both modalities. One half of the others has genes only, the other half proteins
        only.
    rng
        Seed or generator. The same seed gives the same cells in the same order.

    Returns
    -------
    Modalities `"rna"`, 40 genes as CSR, and `"protein"`, 12 proteins as a dense array, both counts in float32, and

    `mdata.obs["cell_type"]`, also in each modality
        `"type A"`, `"type B"` or `"type C"`.
    `mdata.obsm["true_latent"]`
        Position that both modalities were drawn from.

    Raises
    ------
    ValueError
        If there are fewer than three cells, or `share_paired` is not a share.

    Notes
    -----
    Counts are negative binomial: Poisson of a gamma of shape θ with mean s exp(b + z W), where z is the latent, s the
    depth of the cell and b the level of the feature; θ is 5 for genes and 20 for proteins.

    Examples
    --------
    >>> import jamie.datasets
    >>> mdata = jamie.datasets.toy()
    >>> mdata.n_obs, mdata["rna"].shape, mdata["protein"].shape
    (60, (54, 40), (54, 12))
    >>> len(mdata["rna"].obs_names.intersection(mdata["protein"].obs_names))
    48
    """
    _check(n_cells, share_paired)
    rng = generator(rng)
    types = rng.permutation(np.arange(n_cells) % len(CELL_TYPES))
    latent = 1.5 * np.eye(N_LATENT)[types] + 0.5 * rng.standard_normal((n_cells, N_LATENT))
    cells = pd.DataFrame(
        {LABELS: pd.Categorical.from_codes(types, list(CELL_TYPES))}, index=[f"cell{i + 1}" for i in range(n_cells)]
    )
    genes = _counts(latent, N_GENES, level=1.5, shape=5, rng=rng)
    proteins = _counts(latent, N_PROTEINS, level=40, shape=20, rng=rng)
    in_rna, in_protein = _measured_cells(n_cells, share_paired, rng)
    modalities = {
        "rna": modality(sparse.csr_matrix(genes[in_rna]), cells=cells.iloc[in_rna], prefix="gene"),
        "protein": modality(proteins[in_protein], cells=cells.iloc[in_protein], prefix="protein"),
    }
    return assemble(modalities, cells=cells, latent=latent.astype(np.float32))


def _counts(latent: Array, n_features: int, *, level: float, shape: float, rng: np.random.Generator) -> Array:
    loadings = 0.6 * rng.standard_normal((latent.shape[1], n_features))
    levels = np.log(level) + 0.5 * rng.standard_normal(n_features)
    depth = np.exp(0.2 * rng.standard_normal((len(latent), 1)))
    mean = depth * np.exp(levels + (latent - latent.mean(axis=0)) @ loadings)  # (n, d)
    return rng.poisson(rng.gamma(shape, mean / shape)).astype(np.float32)


def _measured_cells(n_cells: int, share_paired: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows of the cells in each modality: paired ones first in both, those of the proteins then shuffled."""
    n_paired = round(share_paired * n_cells)
    n_rna = n_cells - (n_cells - n_paired) // 2
    in_protein = np.r_[np.arange(n_paired), np.arange(n_rna, n_cells)]
    return np.arange(n_rna), rng.permutation(in_protein)


def _check(n_cells: int, share_paired: float) -> None:
    if n_cells < len(CELL_TYPES):
        msg = f"expected `n_cells` of at least {len(CELL_TYPES)}, one cell per type, found {n_cells}"
        raise InvalidValueError(msg)
    if not 0 <= share_paired <= 1:
        msg = f"expected 0 ≤ `share_paired` ≤ 1, found {share_paired!r}; pass 0.8 for 80 % of the cells"
        raise InvalidValueError(msg)
