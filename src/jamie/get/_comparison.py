"""Measured beside imputed values, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import require_choice
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie.data import matrix, measured

from ._pairs import cell_pairs
from ._stored import stored, stored_record


class Comparison(NamedTuple):
    """The same cells and features, measured and imputed."""

    measured: pd.DataFrame
    imputed: pd.DataFrame
    scale: str
    cells: str  # held-out or in-sample


@document("mdata", "key_added")
def comparison(
    mdata: MuData, *, source: str, target: str, features: Sequence[str] | None = None, key_added: str = "jamie"
) -> Comparison:
    """Measured and imputed features of the same held-out cells, on the scale of the imputed ones.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`.
    features
        Features of `target`; if `None`, all that were imputed and measured.

    Returns
    -------
    A named tuple of two data frames, `measured` and `imputed`, with the same cells and features, their `scale`, and
    `cells`: ``"held-out"``, or ``"in-sample"`` where :func:`jamie.pp.split` held out no cell that both modalities have;
    then these are all such cells.

    Raises
    ------
    KeyError
        If this was not imputed, or not with these features.
    ValueError
        If no cell has both modalities.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.split(mdata)
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> pair = jm.get.comparison(mdata, source="rna", target="protein")
    >>> pair.measured.corrwith(pair.imputed).shape, pair.cells
    ((12,), 'held-out')
    """
    for name, value in (("source", source), ("target", target)):
        require_choice(value, list(mdata.mod), name=name)
    keys = Keys(key_added)
    slot, remedy = keys.imputed_from_source(target), f"jm.tl.impute(mdata, model, source={source!r}, target={target!r})"
    frame = stored(mdata[source].obsm, slot, where=f"mdata[{source!r}].obsm", remedy=remedy)
    about = stored_record(mdata[source].uns, slot, where=f"mdata[{source!r}].uns", remedy=remedy)
    names = pd.Index(np.asarray(about["features"], dtype=object))
    for feature in features or ():
        require_choice(feature, names, name="features")
    wanted = pd.Index(features) if features else names[names.isin(mdata[target].var_names)]
    pairs = cell_pairs(mdata, source, target, keys)
    at, rows = pairs.test
    if not len(rows):
        msg = f"expected cells measured in both {source!r} and {target!r}, found none; there is nothing to compare"
        raise InvalidValueError(msg)
    index = frame.index[at]
    x = measured(
        matrix(mdata, target, layer=about["layer"] or None)[rows], kind=about["kind"], depth=float(about["depth"])
    )
    x = x[:, mdata[target].var_names.get_indexer(wanted)]
    return Comparison(
        measured=pd.DataFrame(x.toarray() if sparse.issparse(x) else x, index=index, columns=wanted),
        imputed=pd.DataFrame(frame.to_numpy()[at][:, names.get_indexer(wanted)], index=index, columns=wanted),
        scale=about["scale"],
        cells=pairs.cells,
    )
