"""A correspondence in blocks of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._checks import require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._types import Array, Pair, Slot
from jamie.correspondence import binned, label_mass
from jamie.data import Cells, correspondences, label_codes, open_cells, truth


@dataclass(frozen=True)
class CorrespondenceMap:
    """Mass of a correspondence by bins of cells, grouped by label.

    Attributes
    ----------
    modalities
        Those of the rows and of the columns.
    shape
        Number of cells of both.
    fold
        Mass that the cells of a bin of rows give to a bin of columns, as a multiple of an even spread over all cells
        (row bins × column bins); NaN where no cell of the bin has a partner.
    labels
        The labels in order, (n,); one without a name where none were asked for.
    row_edges, column_edges
        First bin of each label and of the cells without one, and the number of bins, (n + 2,).
    in_label
        Share of the mass that lies in the right label; NaN without labels.
    chance
        What it would be if rows were dealt to the cells at random; NaN without labels.
    """

    modalities: Pair
    shape: tuple[int, int]
    fold: Array
    labels: tuple[str, ...]
    row_edges: Array
    column_edges: Array
    in_label: float
    chance: float


@document("mdata", "key_added")
def correspondence(
    mdata: MuData,
    *,
    modalities: Sequence[str] | None = None,
    slot: Slot = "inferred",
    labels: str | None = None,
    n_bins: int = 200,
    key_added: str = "jamie",
) -> CorrespondenceMap:
    """Mass of a correspondence by label and bins of cells: the numbers of :func:`jamie.pl.correspondence`.

    Within a label, and where there are none, rows are in the order of the first component of the prepared input, else
    of the cells, and columns in that of their true partners, as far as any are known.

    Parameters
    ----------
    {shared}
    modalities
        Rows and columns; may be left out where only one correspondence is there.
    slot
        ``"inferred"``, ``"match"`` or ``"known"``.
    labels
        Column of the `.obs` of the modalities, or of `mdata.obs`.
    n_bins
        Bins of rows and of columns at most; cells share them, and no bin has two labels.

    Returns
    -------
    `fold`, the mass as a multiple of an even spread (row bins × column bins), `row_edges` and `column_edges`, the first
    bin of each of the `labels`, and `in_label` and `chance`, the share of the mass that lies in the right label.

    Raises
    ------
    KeyError
        If the correspondence, a modality or the labels are not there.
    ValueError
        If several correspondences are there, or no cell has a label.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.correspondence(mdata)
    >>> blocks = jm.get.correspondence(mdata, slot="known", labels="cell_type", n_bins=30)
    >>> blocks.fold.shape, blocks.in_label
    ((30, 30), 1.0)
    """
    require_positive(n_bins=n_bins)
    cells = open_cells(mdata, modalities=modalities, keys=Keys(key_added))
    by_pair = correspondences(cells, slot)
    if len(by_pair) > 1:
        msg = f"expected one correspondence, found {list(by_pair)}; pass modalities={next(iter(by_pair))}"
        raise InvalidValueError(msg)
    ((pair, f),) = by_pair.items()
    codes, names = [np.zeros(n, dtype=int) for n in f.shape], [""]
    if labels is not None:
        codes[0], codes[1], names = label_codes(mdata, pair, labels)
    rows, columns = (
        _bins(of_cells, position, n_bins, len(names))
        for of_cells, position in zip(codes, _positions(cells, pair), strict=True)
    )
    in_label, chance = (float("nan"), float("nan")) if labels is None else _in_label(f, codes[0], codes[1])
    return CorrespondenceMap(
        pair,
        f.shape,
        fold=binned(f, rows[0], columns[0]) * f.shape[1] / np.bincount(columns[0]),
        labels=tuple(names),
        row_edges=rows[1],
        column_edges=columns[1],
        in_label=in_label,
        chance=chance,
    )


def _in_label(f: sparse.csr_matrix, rows: Array, columns: Array) -> tuple[float, float]:
    mass, own = label_mass(f, rows, columns)
    return float(mass[np.arange(len(own)), own].mean()), float(mass.mean(axis=0)[own].mean())


def _positions(cells: Cells, pair: Pair) -> list[Array]:
    """Where a cell stands within its label: rows by their first component, columns by their true partners."""
    own = [
        np.asarray(cells.mdata[name].obsm[cells.keys.input])[:, 0]
        if cells.keys.input in cells.mdata[name].obsm
        else np.arange(len(cells.cells(name)))
        for name in pair
    ]
    known = truth(cells, pair)
    if not known.nnz:
        return own
    rank = np.argsort(np.argsort(own[0], kind="stable"))
    n = np.asarray(known.sum(axis=0)).ravel()
    of_partner = known.T @ rank / np.where(n > 0, n, 1)
    return [rank, np.where(n > 0, of_partner, len(rank))]


def _bins(codes: Array, position: Array, n_bins: int, n_labels: int) -> tuple[Array, Array]:
    """Bin of each cell, and the first bin of each label and of the cells without one: no bin has two labels."""
    codes = np.where(codes < 0, n_labels, codes)
    count = np.bincount(codes, minlength=n_labels + 1)
    width = np.minimum(np.maximum(np.round(n_bins * count / len(codes)), 1), count).astype(int)
    start = np.r_[0, np.cumsum(width)]
    order = np.lexsort((position, codes))
    place = np.empty(len(codes), dtype=int)
    place[order] = np.arange(len(codes)) - np.repeat(np.cumsum(count) - count, count)
    return start[codes] + place * width[codes] // count[codes], start
