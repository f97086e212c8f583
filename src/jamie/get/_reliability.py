"""Whether labels and partners are as often right as their probabilities say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import require_name
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._types import Array
from jamie.data import Cells, as_text, open_cells, require_mudata, role_codes, unseen_cells, unseen_pairs
from jamie.metrics import Strategy, calibration_floor, reliability_bins

from ._stored import stored

N_BINS = 10
MOST_SHOWN = 5


class _Said(NamedTuple):
    """What was said of cells, and whether it was so."""

    probability: Array
    right: Array
    n_cells: int
    cells: str  # held-out, new, or in-sample
    strategy: Strategy


@document("mdata", "key_added")
def reliability(
    mdata: MuData,
    *,
    source: str,
    target: str,
    labels: str | None = None,
    truth: str | None = None,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """How often labels or partners were right, by their probability: the numbers of :func:`jamie.pl.reliability`.

    Of cells that the model has not seen, all of them where it has seen every one, whose label or partner is known.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.transfer_labels` or :func:`jamie.tl.match`.
    labels
        Column that was carried over; if `None`, partners by :func:`jamie.tl.match` are judged.
    truth
        Column of the true labels of the cells of the target, where it is another than `labels`: to judge a transfer
        fairly, labels of held-out cells are left out of the column that is carried over.

    Returns
    -------
    A row for each bin: mean `probability`, the `share_right`, and the number `n` of labels, or of kept partners; and
    for all of them `calibration_error` (:func:`jamie.metrics.calibration_error`), the `floor`, which is the error of
    as many probabilities that are true, `n_cells`, what the `cells` are to the model, `source`, `target`, and `what`
    was said: ``"label"`` or ``"partner"``. Bins are ten of the same width for labels, and ten of as many for partners,
    whose probabilities are small.

    Raises
    ------
    KeyError
        If there are no labels or partners of this name.
    ValueError
        If no cell with one has a true one, or no true label is among those that could be carried over.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.transfer_labels(mdata, labels="cell_type", source="rna", target="protein")
    >>> table = jm.get.reliability(mdata, labels="cell_type", source="rna", target="protein")
    >>> int(table["n"].sum()), table["cells"][0]
    (54, 'in-sample')
    """
    require_mudata(mdata)
    for name, value in (("source", source), ("target", target)):
        require_name(value, list(mdata.mod), name=name)
    cells = open_cells(mdata, modalities=[source, target], keys=Keys(key_added))
    said = _partners(cells, source, target) if labels is None else _labels(cells, source, target, labels, truth)
    if not len(said.probability):
        what, remedy = "known partner", "record pairs with jm.pp.correspondence(mdata, pairs=...)"
        if labels is not None:
            what, remedy = "label that can be compared", "pass truth= a column that the cells of the target have"
        msg = f"expected cells with a {what}, found none; {remedy}"
        raise InvalidValueError(msg)
    bins = reliability_bins(said.probability, said.right, n_bins=N_BINS, strategy=said.strategy)
    table = pd.DataFrame({"probability": bins.probability, "share_right": bins.right, "n": bins.n})
    table["calibration_error"] = bins.error
    table["floor"] = calibration_floor(said.probability, n_bins=N_BINS, strategy=said.strategy)
    table["n_cells"], table["cells"] = said.n_cells, said.cells
    table["source"], table["target"], table["what"] = source, target, "partner" if labels is None else "label"
    return table


def _labels(cells: Cells, source: str, target: str, labels: str, truth: str | None) -> _Said:
    """Labels that were carried over to cells that have one."""
    remedy = f"jm.tl.transfer_labels(mdata, labels={labels!r}, source={source!r}, target={target!r})"
    obs, where = cells.mdata[target].obs, f"mdata[{target!r}].obs"
    carried = stored(obs, cells.keys.label(labels), where=where, remedy=remedy)
    probability = stored(obs, cells.keys.confidence(labels), where=where, remedy=remedy).to_numpy(dtype=float)
    true = cells.labels(truth or labels, target, argument="labels" if truth is None else "truth")
    (known,) = np.nonzero((carried.notna() & true.notna()).to_numpy())
    compared, which = unseen_cells(_roles(cells, target, cells.keys.seen(labels))[known])
    chosen = known[compared]
    _require_same_sort(carried, true.iloc[known], labels, truth or labels)
    right = as_text(carried).to_numpy() == as_text(true).to_numpy()
    return _Said(probability[chosen], right[chosen], len(chosen), which, "uniform")


def _require_same_sort(carried: pd.Series, true: pd.Series, labels: str, truth: str) -> None:
    """Raise if no label could be right: the true ones are of another annotation."""
    could_be = pd.Series(carried.astype("category").cat.categories)
    names = [pd.unique(as_text(values)) for values in (could_be, true)]
    if len(names[1]) and not set(names[0]) & set(names[1]):
        shown = [", ".join(map(repr, sorted(of)[:MOST_SHOWN])) for of in names]
        msg = (
            f"expected true labels in {truth!r} that are among those of {labels!r}, found {shown[1]}, which are none "
            f"of {shown[0]}; pass truth= a column of the same annotation"
        )
        raise InvalidValueError(msg)


def _partners(cells: Cells, source: str, target: str) -> _Said:
    """Partners that were kept for cells whose partner is known."""
    remedy = f"jm.tl.match(mdata, source={source!r}, target={target!r})"
    stored(cells.mdata.obsp, cells.keys.match(source, target), where="mdata.obsp", remedy=remedy)
    f = cells.stored_pairs("match", source, target)
    assert f is not None  # it is there
    rows, partners = cells.likeliest(source, target)
    of_source, of_target = (_roles(cells, name, cells.keys.role) for name in (source, target))
    compared, which = unseen_pairs(of_source[rows], of_target[partners])
    entries = f[rows[compared]].tocoo()
    right = entries.col == partners[compared][entries.row]
    return _Said(entries.data.astype(float), right, int(compared.sum()), which, "quantile")


def _roles(cells: Cells, name: str, slot: str) -> Array:
    """What each cell was to the model, as it said; all were seen where it did not, (n,) positions in `ROLES`."""
    column = cells.mdata[name].obs.get(slot)
    if column is None:
        return np.zeros(cells.mdata[name].n_obs, dtype=int)
    return role_codes(column)
