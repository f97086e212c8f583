"""Is a correspondence right: scored against whatever is known of it, beside chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import generator, require_name
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._slots import in_one_line, write
from jamie._types import Array, Pair, Seed, Slot
from jamie.correspondence import Score, by_features, by_labels, by_pairs, by_position, without_truth
from jamie.data import Cells, Layers, Pairs, correspondences, label_codes, measured_as, open_cells, true_pairs, writable

BETTER = {"source_coverage": "higher", "target_coverage": "higher", "effective_partners": "", "foscttm": "lower"}
MOST_POSITIONS = 2_000  # FOSCTTM takes their square


@in_one_line
@document("mdata", "rng", "key_added")
def check_correspondence(
    mdata: MuData,
    *,
    modalities: Sequence[str] | None = None,
    slot: Slot = "inferred",
    labels: str | None = None,
    pairs: Pairs = None,
    linked: pd.DataFrame | None = None,
    n_cells: int = 5_000,
    layer: Layers = None,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """Score a correspondence against whatever is known: pairs, labels, linked features; each measure beside chance.

    An inferred correspondence can be wrong and look sure: where one side lacks a cell type, whole groups are swapped,
    and no number that is computed without truth shows it. Get 10 to 20 pairs, labels, or linked features.

    Parameters
    ----------
    {shared}
    modalities
        The first is scored: the partners of its cells in the second. If `None`, all that have a correspondence, in the
        order of the MuData.
    slot
        ``"inferred"``, ``"match"`` or ``"known"``: what to score.
    labels
        Column of `mdata.obs`, or of the `.obs` of both modalities, such as the cell type.
    pairs
        True pairs, as for :func:`jamie.pp.correspondence`; if `None`, cells of the same name and the pairs written
        there. Pairs that the correspondence was made with are left out; where no other is known they are scored and
        called in-sample.
    linked
        Two columns of feature names: of the first modality and of the second, such as a gene and its protein. Values
        are compared on the scale of imputed ones after :func:`jamie.pp.prepare`, else as they are.
    n_cells
        Cells to score against pairs, labels and linked features, drawn at random where there are more; 2,000 at most
        for FOSCTTM.
    layer
        Layer that linked features are read from, for all modalities or by modality; ``"X"`` is the matrix itself.

    Returns
    -------
    A data frame with a row for each measure:

    ==================== ============== ==========================================================================
    measure              rests on       meaning
    ==================== ============== ==========================================================================
    `recall`             pairs          share of cells whose true partner is among their partners
    `probability`        pairs          mean probability of the true partner
    `foscttm`            pairs          share of cells closer than the true partner, to the mean of the partners
    `label_agreement`    labels         mean probability of partners of the same label
    `label_accuracy`     labels         share of cells whose partners vote for their label
    `…_macro`            labels         the same, the mean over labels
    `linked_correlation` features       mean Pearson correlation of a feature in the cells and in their partners
    `source_coverage`    nothing        share of cells of the first modality with a partner
    `target_coverage`    nothing        share of cells of the second that are a partner
    `effective_partners` nothing        mean exponential of the entropy of a cell's partners
    `largest_load`       nothing        cells that the most used cell of the second is the partner of
    ==================== ============== ==========================================================================

    `chance` is the mean over permutations of the cells of the first modality, `p_value` the share of 200 that do as
    well, `n_cells` what the measure rests on, `better` the good direction, and `verdict` whether p < 0.05. FOSCTTM
    needs :func:`jamie.pp.prepare`. A cell without partners counts as missed for recall and probability, and is left
    out elsewhere. Sets

    `mdata.uns['jamie_correspondence']` : :class:`~pandas.DataFrame`
        The same table.

    Raises
    ------
    KeyError
        If the correspondence, a modality, the labels or a feature is not there.
    ValueError
        If there is no such slot, the pairs do not fit the cells, no cell has labels on both sides, or no linked feature
        varies.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.correspondence(mdata)
    >>> table = jm.tl.check_correspondence(mdata, slot="known", labels="cell_type")
    >>> table[["measure", "value", "chance", "verdict"]].head(2).round(2)
                     measure  value  chance             verdict
    0        label_agreement    1.0    0.34  better than chance
    1  label_agreement_macro    1.0    0.33  better than chance
    """
    mdata = writable(mdata, copy=False)
    rng = generator(rng)
    cells = open_cells(mdata, modalities=modalities, keys=Keys(key_added), layer=layer)
    by_pair = correspondences(cells, slot)
    if len(by_pair) > 1 and (pairs is not None or linked is not None):
        msg = f"expected two modalities for `pairs` or `linked`, found {list(by_pair)}; pass modalities=[..., ...]"
        raise InvalidValueError(msg)
    rows, known = [], _Known(slot, pairs, labels, linked)
    for pair, f in by_pair.items():
        truths = set()
        for truth, measure, score in _scores(cells, pair, f, known, n_cells, rng):
            truths.add(truth)
            about = {"slot": slot, "source": pair[0], "target": pair[1], "truth": truth, "measure": measure}
            better = BETTER.get(measure, "lower" if measure == "largest_load" else "higher")
            rows.append({**about, **score._asdict(), "better": better, "verdict": _verdict(score)})
        if truths <= {"nothing", "in-sample pairs"}:
            _warn_unverified(pair, in_sample="in-sample pairs" in truths)
    table = pd.DataFrame(rows)
    write(mdata, None, "uns", cells.keys.correspondence, table)
    return table


class _Known(NamedTuple):
    """What a correspondence is scored against."""

    slot: Slot
    pairs: Pairs
    labels: str | None
    linked: pd.DataFrame | None


def _scores(
    cells: Cells, pair: Pair, f: sparse.csr_matrix, known: _Known, n_cells: int, rng: np.random.Generator
) -> Iterator[tuple[str, str, Score]]:
    """Yield (what it rests on, measure, score)."""
    has_partner = np.diff(f.indptr) > 0
    if known.slot != "known" or known.pairs is not None:
        yield from _pair_scores(cells, pair, f, known, n_cells, rng)
    if known.labels is not None:
        of_a, of_b, _ = label_codes(cells.mdata, pair, known.labels)
        rows = _drawn(np.flatnonzero((of_a >= 0) & has_partner), n_cells, rng)
        for measure, score in by_labels(f[rows], of_a[rows], of_b, rng).items():
            yield "labels", measure, score
    if known.linked is not None:
        rows = _drawn(np.flatnonzero(has_partner), n_cells, rng)
        yield "linked features", "linked_correlation", _linked_score(cells, pair, f, known.linked, rows, rng)
    for measure, score in without_truth(f).items():
        yield "nothing", measure, score


def _pair_scores(
    cells: Cells, pair: Pair, f: sparse.csr_matrix, known: _Known, n_cells: int, rng: np.random.Generator
) -> Iterator[tuple[str, str, Score]]:
    rows, partners, truth = true_pairs(cells, pair, known.slot, known.pairs)
    if len(rows) < 2:
        return
    drawn = _drawn(np.arange(len(rows)), n_cells, rng)
    for measure, score in by_pairs(f[rows[drawn]], partners[drawn], rng).items():
        yield truth, measure, score
    drawn = _drawn(np.flatnonzero(np.diff(f.indptr)[rows] > 0), min(n_cells, MOST_POSITIONS), rng)
    obsm = cells.mdata[pair[1]].obsm
    if cells.keys.input in obsm and len(drawn) > 1:
        z = np.asarray(obsm[cells.keys.input], dtype=np.float64)
        yield truth, "foscttm", by_position(f[rows[drawn]] @ z, z[partners[drawn]], rng)


def _linked_score(
    cells: Cells, pair: Pair, f: sparse.csr_matrix, linked: pd.DataFrame, rows: Array, rng: np.random.Generator
) -> Score:
    if linked.shape[1] != 2 or not len(linked):
        msg = f"expected `linked` with two columns of feature names and a row, found shape {linked.shape}"
        raise InvalidValueError(msg)
    partners, sides = np.unique(f[rows].indices), []
    for name, column, of_side in zip(pair, linked.columns, (rows, partners), strict=True):
        for feature in linked[column]:
            require_name(str(feature), cells.features(name), name=f"linked[{column!r}]")
        columns = cells.features(name).get_indexer(linked[column].astype(str))
        sides.append(_values(cells, name, of_side, columns))
    score = by_features(sides[0], _of_partners(f[rows][:, partners], sides[1]), rng) if len(rows) > 1 else None
    if score is None:
        msg = f"expected linked features that vary in {pair[0]!r} and among their partners, found none of {len(linked)}"
        raise InvalidValueError(msg)
    return score


def _values(cells: Cells, name: str, rows: Array, columns: Array) -> Array:
    """Some cells × features, dense: on the imputed scale if prepared, else as they are."""
    about = cells.mdata[name].uns.get(cells.keys.preparation)
    matrix = cells.matrix(name, cells.layer(name) or (about["layer"] if about else "") or "X")
    x = (matrix.in_double() if about and np.asarray(about["mean"]).dtype == np.float64 else matrix)[rows]
    x = (measured_as(x, about) if about else x)[:, columns]
    return x.toarray() if sparse.issparse(x) else x


def _of_partners(f: sparse.csr_matrix, values: Array) -> Array:
    """Mean of the partners of each cell over those that were measured; NaN where none was."""
    seen = np.isfinite(values)
    weight = np.asarray(f @ seen.astype(float))
    return np.divide(f @ np.where(seen, values, 0), weight, out=np.full(weight.shape, np.nan), where=weight > 0)


def _drawn(rows: Array, most: int, rng: np.random.Generator) -> Array:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _verdict(score: Score) -> str:
    if np.isnan(score.p_value):
        return "not tested"
    return "better than chance" if score.p_value < 0.05 else "no better than chance"


def _warn_unverified(pair: Pair, *, in_sample: bool) -> None:
    logger.warning(
        "the correspondence of %r and %r is unverified: nothing is known%s; get 10 to 20 pairs (pairs=), labels "
        "(labels=) or linked features (linked=)",
        *pair,
        " but the pairs it was made with" if in_sample else "",
    )
