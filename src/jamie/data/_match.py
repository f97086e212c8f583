"""New cells for a trained model: features are matched by name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._settings import logger
from jamie._types import Array, Matrix

from ._container import matrix, require_unique_names
from ._prepare import Preparation
from ._views import require_complete

MAX_MISSING = 0.2


class Matched(NamedTuple):
    """Values of the features that model and modality share."""

    x: Matrix  # (n, matched)
    columns: Array | slice  # of the model's features
    position: Array  # of the modality's features


def model_inputs(mdata: MuData, name: str, preparation: Preparation) -> Array:
    """Prepared input of every cell of a modality, (n, k), with features matched by name as in `matched`."""
    found = matched(mdata, name, preparation)
    return preparation.transform(found.x, found.columns)


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
    x = matrix(mdata, name, layer=preparation.layer or None)
    require_complete(mdata, name, x, preparation.kind)
    found = pd.Index(preparation.features)
    if found.equals(mdata[name].var_names):
        return Matched(x, slice(None), np.arange(len(found)))
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
        raise ValueError(msg)
    if n_missing:
        logger.warning(
            "%d of %d features of %r are missing, first %r: the training mean stands in for them",
            n_missing,
            len(found),
            name,
            found[position < 0][0],
        )
    return Matched(x[:, position[columns]], columns, position[columns])
