"""New cells for a trained model: features are matched by name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._types import Array

from ._cell_matrix import CellMatrix
from ._container import matrix, require_unique_names
from ._prepare import Preparation, looks_prepared

MAX_MISSING = 0.2
DEFAULT_KEYS = Keys()


class Matched(NamedTuple):
    """Values of the features that model and modality share."""

    cells: CellMatrix  # (n, matched)
    columns: Array | slice  # of the model's features
    position: Array  # of the modality's features


def model_inputs(mdata: MuData, name: str, preparation: Preparation, keys: Keys = DEFAULT_KEYS) -> Array:
    """Prepared input of every cell of a modality, (n, k), with features matched by name as in `matched`.

    Of a modality that is not in memory, the input that `pp.prepare` wrote is taken if it is that of the model.
    """
    found = matched(mdata, name, preparation)
    if not found.cells.in_memory:
        adata = mdata[name]
        written, loadings = adata.obsm.get(keys.input), adata.varm.get(keys.loadings)
        is_same = loadings is not None and np.array_equal(loadings[found.position], preparation.loadings)
        if is_same and written is not None and looks_prepared(found.cells, preparation, written):
            return np.asarray(written, dtype=np.float32)
    return preparation.inputs(found.cells, found.columns)


def matched(mdata: MuData, name: str, preparation: Preparation) -> Matched:
    """Values of a modality as the model knows its features, by name.

    Features the model does not know are ignored; those it misses count as the training mean, up to a share of
    `MAX_MISSING`.

    Raises
    ------
    ValueError
        If more than `MAX_MISSING` of the model's features are not there.
    """
    require_unique_names(mdata, name)
    cells = matrix(mdata, name, layer=preparation.layer or None)
    found = pd.Index(preparation.features)
    if found.equals(mdata[name].var_names):
        return Matched(cells, slice(None), np.arange(len(found)))
    position = mdata[name].var_names.get_indexer(found)
    (columns,) = np.nonzero(position >= 0)
    n_missing = len(found) - len(columns)
    if n_missing > MAX_MISSING * len(found):
        first = found[position < 0][0]
        msg = (
            f"expected at least {1 - MAX_MISSING:.0%} of the {len(found)} features of {name!r} that the "
            "model was trained on, "
            f"found {len(columns)} in `mdata[{name!r}].var_names`, missing first {first!r}; match the names, "
            "or train on "
            "these features with jm.tl.train(mdata)"
        )
        raise InvalidValueError(msg)
    if n_missing:
        logger.warning(
            "%d of %d features of %r are missing, first %r: the training mean stands in for them",
            n_missing,
            len(found),
            name,
            found[position < 0][0],
        )
    return Matched(cells.select(position[columns]), columns, position[columns])
