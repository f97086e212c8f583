"""Genes driven by regions of open chromatin that are known: what attribution should find again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import expit

from jamie._checks import generator
from jamie._errors import InvalidValueError

from ._assemble import LABELS, assemble, modality

if TYPE_CHECKING:
    from mudata import MuData

    from jamie._types import Array, Seed

N_CHROMOSOMES, LENGTH = 5, 50_000_000
N_PROGRAMMES = 8
WIDTH = 500  # of a region
NEAREST = 100
DISPERSION = 4.0
REPRESSING = 0.1


def multiome(
    *,
    n_cells: int = 2_000,
    n_genes: int = 500,
    n_peaks: int = 3_000,
    n_true: int = 3,
    n_types: int = 6,
    window: int = 100_000,
    rng: Seed = 0,
) -> MuData:
    """Simulate genes and open chromatin of the same cells, in which known regions drive each gene.

    Every gene has `n_true` driving regions. The other regions are decoys, at distances drawn in the same way: half of
    them open in the same cells as a driver of the gene they lie near to, the other half as they please.

    Parameters
    ----------
    n_cells
        Cells, all of them measured in both modalities, in two batches.
    n_genes, n_peaks, n_true
        Genes, regions, and regions that drive each gene.
    n_types
        Cell types.
    window
        Largest distance of a region's middle from the transcription start site it was placed around, in bases.
    rng
        Seed or generator. The same seed gives the same cells in the same order.

    Returns
    -------
    Modalities `"rna"`, counts, and `"atac"`, open or not, both CSR in float32 with coordinates in `.var`, and

    `mdata.uns["true_links"]` : :class:`~pandas.DataFrame`
        `region`, `gene`, `distance` from the start site (negative is upstream) and `effect` of each driver.
    `mdata["atac"].var["role"]`
        `"driver"`, `"co-accessible"` or `"decoy"`.
    `mdata.obs["cell_type"]`, `mdata.obs["batch"]`, also in each modality
        Of each cell.
    `mdata.obsm["true_latent"]`
        Activity of the programmes that open regions.

    Raises
    ------
    ValueError
        If there are fewer regions than drivers, or fewer cells than types, or the window is no place for regions.

    Notes
    -----
    With z the activities of a cell's programmes, region p is in the state s_p ~ Bernoulli(σ(a_p + w_p z)), and an open
    one is observed with probability 1 − exp(−q_p D), where D is the cell's depth: about one in four is. Counts of gene
    g are negative binomial, Poisson of a gamma with mean d exp(b_g + Σ_p β_gp (s_p − E s_p) + v_g z), where d is the
    depth of the cell, the sum is over its drivers, one in ten of which lowers it, and v_g is what other genes do. The
    second batch has other a, b; the depths of both modalities correlate.

    Examples
    --------
    >>> import jamie.datasets
    >>> mdata = jamie.datasets.multiome(n_cells=100, n_genes=20, n_peaks=80)
    >>> mdata["rna"].shape, mdata["atac"].shape, len(mdata.uns["true_links"])
    ((100, 20), (100, 80), 60)
    >>> mdata["atac"].var["role"].value_counts().sort_index().to_dict()
    {'co-accessible': 10, 'decoy': 10, 'driver': 60}
    """
    _check(n_cells, n_genes, n_peaks, n_true, n_types, window)
    rng = generator(rng)
    genes = _genes(n_genes, rng)
    peaks, drivers = _peaks(genes, n_peaks, n_true, window, rng)
    cells, latent, depth = _cells(n_cells, n_types, rng)
    in_second = (cells["batch"].cat.codes == 1).to_numpy(dtype=float)[:, None]
    base, weights = _programmes(peaks, rng)
    probability = expit(base + latent @ weights + 0.3 * in_second * rng.standard_normal(n_peaks))
    state = rng.random((n_cells, n_peaks)) < probability
    seen = 1 - np.exp(-0.3 * np.exp(0.4 * rng.standard_normal(n_peaks)) * depth[:, [1]])
    observed = state & (rng.random((n_cells, n_peaks)) < seen)
    effects = sparse.csr_matrix((drivers["effect"], (drivers["gene"], drivers["peak"])), shape=(n_genes, n_peaks))
    driven = (effects @ (state - probability.mean(0)).T).T
    level = 0.7 * rng.standard_normal(n_genes) + 0.2 * in_second * rng.standard_normal(n_genes)
    elsewhere = latent @ (0.1 * rng.standard_normal((N_PROGRAMMES, n_genes)))
    mean = depth[:, [0]] * np.exp(level + driven + elsewhere)
    counts = rng.poisson(rng.gamma(DISPERSION, mean / DISPERSION))
    order = rng.permutation(n_cells)  # of one modality: cells are matched by name
    rna = modality(sparse.csr_matrix(counts.astype(np.float32)), cells=cells, prefix="gene")
    atac = modality(sparse.csr_matrix(observed[order].astype(np.float32)), cells=cells.iloc[order], prefix="peak")
    rna.var = genes.set_index(rna.var_names)
    atac.var = peaks.drop(columns=["gene", "like", "distance"])
    mdata = assemble({"rna": rna, "atac": atac}, cells=cells, latent=latent.astype(np.float32))
    mdata.uns["true_links"] = pd.DataFrame(
        {
            "region": peaks.index[drivers["peak"]],
            "gene": rna.var_names[drivers["gene"]],
            "distance": drivers["distance"].to_numpy(),
            "effect": drivers["effect"].to_numpy(),
        }
    )
    return mdata


def _genes(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Place genes along the chromosomes."""
    start = rng.integers(LENGTH // 10, LENGTH - LENGTH // 10, n)
    return pd.DataFrame(
        {
            "chrom": [f"chr{1 + i}" for i in rng.integers(N_CHROMOSOMES, size=n)],
            "start": start,
            "end": start + np.exp(rng.normal(9.5, 1, n)).astype(int) + 500,
            "strand": rng.choice(["+", "-"], n),
        }
    )


def _peaks(
    genes: pd.DataFrame, n: int, n_true: int, window: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Regions in the order of the genome, and which of them (`peak`) drives which gene with what effect."""
    n_drivers = n_true * len(genes)
    n_like = (n - n_drivers) // 2
    gene = np.concatenate([np.repeat(np.arange(len(genes)), n_true), rng.integers(len(genes), size=n - n_drivers)])
    like = np.arange(n)  # whose programmes it follows
    like[n_drivers : n_drivers + n_like] = n_true * gene[n_drivers : n_drivers + n_like] + rng.integers(
        n_true, size=n_like
    )
    strand = np.where(genes["strand"] == "+", 1, -1)[gene]
    distance = rng.choice([-1, 1], n) * np.exp(rng.uniform(np.log(NEAREST), np.log(window), n)).astype(int)
    tss = np.where(strand > 0, genes["start"].to_numpy()[gene], genes["end"].to_numpy()[gene])
    start = tss + distance * strand - WIDTH // 2
    chrom = genes["chrom"].to_numpy()[gene]
    while (same := pd.DataFrame({"chrom": chrom, "start": start}).duplicated().to_numpy()).any():
        start[same] += 1
    distance = (start + WIDTH // 2 - tss) * strand
    role = np.repeat(["driver", "co-accessible", "decoy"], [n_drivers, n_like, n - n_drivers - n_like])
    peaks = pd.DataFrame(
        {
            "chrom": chrom,
            "start": start,
            "end": start + WIDTH,
            "role": role,
            "gene": gene,
            "like": like,
            "distance": distance,
        }
    )
    peaks.index = [f"{c}:{a}-{b}" for c, a, b in zip(peaks["chrom"], peaks["start"], peaks["end"], strict=True)]
    order = np.lexsort([start, chrom])
    peaks = peaks.iloc[order]
    peaks["like"] = np.argsort(order)[peaks["like"]]
    at = np.flatnonzero(peaks["role"] == "driver")
    effect = rng.uniform(0.5, 1.5, len(at)) * np.where(rng.random(len(at)) < REPRESSING, -1, 1)
    drivers = pd.DataFrame(
        {"peak": at, "gene": peaks["gene"].to_numpy()[at], "distance": peaks["distance"].to_numpy()[at]}
    )
    return peaks, drivers.assign(effect=effect).sort_values(["gene", "peak"], ignore_index=True)


def _cells(n: int, n_types: int, rng: np.random.Generator) -> tuple[pd.DataFrame, Array, Array]:
    """Cells, the activities of their programmes, and their depth in both modalities."""
    types, batch = rng.permutation(np.arange(n) % n_types), rng.permutation(np.arange(n) % 2)
    centres = 1.2 * rng.standard_normal((n_types, N_PROGRAMMES))
    latent = centres[types] + 0.5 * rng.standard_normal((n, N_PROGRAMMES))
    depth = np.exp(rng.multivariate_normal([0, 0], [[0.09, 0.05], [0.05, 0.16]], size=n))
    cells = pd.DataFrame(
        {
            LABELS: pd.Categorical.from_codes(types, [f"type {i + 1}" for i in range(n_types)]),
            "batch": pd.Categorical.from_codes(batch, ["batch 1", "batch 2"]),
        },
        index=[f"cell{i + 1}" for i in range(n)],
    )
    return cells, latent, depth


def _programmes(peaks: pd.DataFrame, rng: np.random.Generator) -> tuple[Array, Array]:
    """Log-odds of each region and its weights, (programmes, regions); some regions follow those of another."""
    n, like = len(peaks), peaks["like"].to_numpy()
    base = rng.normal(-1, 0.7, n)
    weights = rng.standard_normal((N_PROGRAMMES, n)) * (rng.random((N_PROGRAMMES, n)) < 0.3)
    return base[like], weights[:, like]


def _check(n_cells: int, n_genes: int, n_peaks: int, n_true: int, n_types: int, window: int) -> None:
    if n_genes < 1 or n_true < 1 or n_peaks < n_true * n_genes:
        msg = (
            f"expected a gene, a driver a gene, and as many regions, found {n_true} drivers of {n_genes} genes each "
            f"and {n_peaks} regions; pass n_peaks={max(1, n_true) * max(1, n_genes)} or more"
        )
        raise InvalidValueError(msg)
    if not 1 <= n_types <= n_cells:
        msg = f"expected `n_cells` of at least `n_types`={n_types}, and that at least 1, found {n_cells}"
        raise InvalidValueError(msg)
    if not NEAREST < window <= LENGTH // 10:
        msg = f"expected `window` over {NEAREST} and up to {LENGTH // 10:,} bases, found {window:,}"
        raise InvalidValueError(msg)
