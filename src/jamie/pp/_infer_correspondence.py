"""Find out which cells correspond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import generator, require_name, require_option
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import SCHEMA, Keys
from jamie._settings import logger
from jamie._slots import in_one_line, write
from jamie._types import Array, Matrix, Pair, Seed
from jamie.correspondence import (
    FEWEST_ANCHORS,
    METHODS,
    MatchingProblem,
    Method,
    check_pairs,
    choose,
    enough,
    infer,
    n_paired,
)
from jamie.data import (
    CellMatrix,
    Cells,
    Layers,
    open_cells,
    prepare,
    read_preparation,
    stored_inputs,
    tell_check,
    two_modalities,
    warn_of_names,
    writable,
)

CAUTION = {
    "geometry": (
        "geometry alone, which can be confidently wrong where their composition differs",
        "20 to 30 known pairs or linked features",
    ),
    "linked": ("linked features alone, which no known pair confirms", "20 to 30 known pairs"),
}


@in_one_line
@document("mdata", "rng", "key_added", "copy")
def infer_correspondence(
    mdata: MuData,
    *,
    modalities: Sequence[str] | None = None,
    method: Method = "auto",
    linked: pd.DataFrame | None = None,
    n_keep: int | None = None,
    cap: bool | Literal["auto"] = "auto",
    n_starts: int = 16,
    use_rep: str | Mapping[str, str] | None = None,
    layer: Layers = None,
    rng: Seed = 0,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | None:
    """Infer which cells of two modalities correspond, F̃ of the paper, helped by whatever pairs are known.

    The problem is that of eq. 8: place the cells of one modality on those of the other so that distances agree.

    ============== ================================ ==========================================================
    method         needs                            how
    ============== ================================ ==========================================================
    ``anchors``    10 known pairs                   nearness to the pairs, along each modality and straight;
                                                    canonical correlation of the two over the pairs
    ``linked``     features linked across           mutual neighbours on the linked features as pairs, then
                   modalities                       anchors
    ``gw``         nothing; below 10 pairs, they    Gromov-Wasserstein between landmarks from many starts,
                   choose among mirror images       carried to the cells
    ``unioncom``   at most 5,000 cells a modality   eq. 8 as published, dense: the reference
    ``auto``                                        the first of `anchors`, `linked` and `gw` that has what it
                                                    needs; the log says why
    ============== ================================ ==========================================================

    **Geometry alone can be confidently wrong.** Where a cell type is missing on one side, `gw` and `unioncom` place
    the others wrongly, with the same objective, gap and agreement as a right result. What they find is marked
    unverified and warned about: check it by :func:`jamie.tl.check_correspondence`, or get 20 to 30 known pairs or
    linked features. Cells that :func:`jamie.pp.split` held out get partners too: their values take part, their pairs
    do not.

    **Names can coincide by chance**, as barcodes come from one list. Known pairs are therefore left out in turn, and
    `verified` is true only if their `objective` is better than that of each of 199 random pairings of the same cells,
    and three standard errors below chance. Pairs that fail are still used, with a warning; with ``method="auto"``
    linked features, if there are any, are taken in their place. A dozen pairs are few to tell by: right ones often
    fail, 30 hardly ever. Random ones pass in one of 300 cases at most.

    Parameters
    ----------
    {shared}
    modalities
        The two modalities; may be left out where there are only two. Rows are cells of the first.
    method
        See above.
    linked
        Two columns of feature names, of the first modality and of the second, such as a gene and its protein.
    n_keep
        Partners of each cell to keep; 50, or a tenth of the cells where there are fewer than 500, if `None`.
    cap
        Whether no cell of the second modality may be the partner of more than one cell in sum (n_a / n_b where the
        first has more). It says that both sides have the same composition; ``"auto"``: where the method assumes that
        anyway, `gw` and `unioncom`. Kept as nearly as `n_keep` partners allow.
    n_starts
        Starts of `gw` and `unioncom`, of which the one with the lowest objective is taken.
    use_rep
        Slot of `.obsm`, for both or by modality, to measure distances in, ``"X"`` for the matrix as it is; the prepared
        input (:func:`jamie.pp.prepare`) if `None`.
    layer
        Layer to read instead of `.X`, for all or by modality, where :func:`jamie.pp.prepare` was not called.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata.obsp['jamie_inferred_<a>_<b>']` : :class:`~scipy.sparse.csr_matrix` (`n_obs × n_obs`, float32)
        Probability that the cell of the row, in `a`, corresponds to that of the column, in `b`. Rows of cells of `a`
        sum to 1 and have at most `n_keep` entries; those of cells with a known partner hold that, and what is inferred
        only in so far as the confidence is below 1.
    `mdata.uns['jamie_inferred_<a>_<b>']` : :class:`dict`
        `method` and `why`, `n_pairs` that are known, `n_keep`, `capped`, `largest_column_sum`, and

        - `verified`: whether known pairs confirm it, see above; false for all but `anchors`;
        - of `anchors`, `objective`: the share of cells that lie closer than the true partner, on `n_checked` pairs that
          were left out in turn; `chance`: the same for the same cells paired at random, about 0.5; its
          `standard_error`; and `p_value`, the share of 200 pairings, the true one among them, that do as well;
        - of `gw` and `unioncom`, `objective`: that of eq. 8, and `n_starts`;
        - of `gw`, `n_optima`; `gap`, how much worse the second-best optimum is; `agreement`, the share of starts that
          found the best: both are necessary, not sufficient; and `chosen_by`, pairs or the objective;
        - of `linked`, `n_pseudo_pairs`.

    Raises
    ------
    KeyError
        If a modality, representation or linked feature is not there.
    ValueError
        If there is no such method, or it lacks what it needs, `n_keep` or `n_starts` is below 1, or a modality has
        fewer than 3 cells.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.infer_correspondence(mdata, n_keep=5)
    >>> mdata.uns["jamie_inferred_rna_protein"]["method"]
    'anchors'
    """
    require_option(method, METHODS, name="method")
    mdata = writable(mdata, copy=copy)
    cells = open_cells(mdata, modalities=modalities, keys=Keys(key_added), layer=layer)
    a, b = two_modalities(cells)
    for value, name in ((n_keep, "n_keep"), (n_starts, "n_starts")):
        if value is not None and value < 1:
            msg = f"expected `{name}` of at least 1, found {value}"
            raise InvalidValueError(msg)
    if not (cap == "auto" or isinstance(cap, bool)):
        msg = f"expected `cap` to be True, False or 'auto', found {cap!r}"
        raise InvalidValueError(msg)
    for name in use_rep if isinstance(use_rep, Mapping) else ():
        require_name(name, cells.names, name="use_rep")
    rng = generator(rng)
    seed = int(rng.integers(2**31))
    x, y = (_representation(cells, name, use_rep, seed) for name in (a, b))
    problem = MatchingProblem(
        x,
        y,
        known=cells.known_of_training(a, b),
        linked=None if linked is None else _linked(cells, a, b, linked),
        n_keep=enough(len(y)) if n_keep is None else n_keep,
        cap=None if cap == "auto" else bool(cap),
        n_starts=n_starts,
    )
    if method in ("auto", "anchors"):
        problem = _checked(problem, cells, (a, b), seed)
    chosen, why = choose(problem) if method == "auto" else (method, "asked for")
    logger.info("method %r: %s", chosen, why)
    result = infer(problem, chosen, rng)
    if chosen != "anchors":
        logger.warning(
            "the correspondence of %r and %r is unverified: it rests on %s; call "
            "jm.tl.check_correspondence(mdata, labels=...), or get %s",
            a,
            b,
            *CAUTION["linked" if chosen == "linked" else "geometry"],
        )
    key = cells.keys.inferred(a, b)
    write(mdata, None, "obsp", key, cells.over_all_cells(result.matrix, a, b))
    write(mdata, None, "uns", key, {"schema": SCHEMA, "why": why, **result.report.to_dict()})
    return mdata if copy else None


def _checked(problem: MatchingProblem, cells: Cells, pair: Pair, seed: int) -> MatchingProblem:
    """The problem with its known pairs checked, and what came out logged; as it is if they are too few to check."""
    given = cells.stored_pairs("known", *pair) is not None
    if not given:
        warn_of_names(cells.cells(pair[0]), cells.cells(pair[1]), pair)
    if n_paired(problem.known) < FEWEST_ANCHORS:
        return problem
    check = check_pairs(problem.x, problem.y, problem.known, np.random.default_rng(seed))
    tell_check(check, pair, given=given)
    return replace(problem, check=check)


def _representation(cells: Cells, name: str, use_rep: str | Mapping[str, str] | None, seed: int) -> Array:
    """Cells × dimensions to measure distances in, finite."""
    slot, adata = use_rep.get(name) if isinstance(use_rep, Mapping) else use_rep, cells.mdata[name]
    if slot is None:
        if read_preparation(cells, name) is not None:
            return stored_inputs(cells, name)
        fitted = prepare(cells, name, seed=seed)
        return fitted.inputs(fitted.read(cells.matrix(name)))
    if slot != "X":
        require_name(slot, ["X", *adata.obsm], name="use_rep", hint=f"it names a slot of mdata[{name!r}].obsm")
    x = _dense(_in_full(cells.matrix(name))[:] if slot == "X" else adata.obsm[slot])
    if not np.isfinite(x).all():
        where = "X" if slot == "X" else f"obsm[{slot!r}]"
        msg = f"expected finite values in `mdata[{name!r}].{where}`, found NaN or infinite ones"
        raise InvalidValueError(msg)
    x = x - x.mean(0, dtype=np.float64)  # distances are the same, and not rounded
    spread = float(np.abs(x).max(initial=0))
    in_range = spread == 0 or SQUARED[0] < spread < SQUARED[1]
    return (x if in_range else x / spread).astype(np.float32)


def _linked(cells: Cells, a: str, b: str, table: pd.DataFrame) -> tuple[Array, Array]:
    """Linked features of both modalities, log1p where they are counts, dense: they are few."""
    if not isinstance(table, pd.DataFrame) or table.shape[1] != 2 or not len(table):
        found = f"shape {table.shape}" if isinstance(table, pd.DataFrame) else type(table).__name__
        msg = f"expected `linked` to be a table of two columns, features of {a!r} and of {b!r}, found {found}"
        raise InvalidValueError(msg)
    sides = []
    for name, column in zip((a, b), table.columns, strict=True):
        features = cells.features(name)
        for feature in table[column].astype(str):
            require_name(feature, features, name=f"linked[{column!r}]")
        position = features.get_indexer(table[column].astype(str))
        blocks = _in_full(cells.matrix(name)).map(
            lambda x, at=position: (_dense(x[:, at]), np.asarray(x.sum(axis=1)).ravel())
        )
        values, total = map(np.concatenate, zip(*blocks, strict=True))
        if (values >= 0).all():  # counts: by depth, then log
            depth = np.nan_to_num(total).reshape(-1, 1).clip(min=1)
            values = np.log1p(values / depth * np.median(depth))
        sides.append(np.nan_to_num(values, nan=0.0))
    return sides[0], sides[1]


SQUARED = (1e-15, 1e15)
"""Values whose squares, and those of some thousand dimensions together, float32 holds."""


def _in_full(cells: CellMatrix) -> CellMatrix:
    """Cells read in the precision that holds what is stored."""
    return cells if np.can_cast(cells.dtype, np.float32) else cells.in_double()


def _dense(x: Matrix) -> Array:
    return np.asarray(x.toarray() if sparse.issparse(x) else x, dtype=np.float64)
