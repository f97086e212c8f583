"""Which model results are of, so that those of two models are not taken for one's."""

from __future__ import annotations

from jamie._slots import write
from jamie.data import Cells
from jamie.model import JAMIE


def write_model(cells: Cells, model: JAMIE, slot: str) -> None:
    """Note that what was written to `slot` is of this model."""
    key = cells.keys.models
    write(cells.mdata, None, "uns", key, {**cells.mdata.uns.get(key, {}), slot: model.fingerprint})
