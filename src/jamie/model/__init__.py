"""The estimator that holds what was learned."""

from __future__ import annotations

from ._confidence import CellConfidence
from ._device import by_rows, isolated, on_threads
from ._intervals import HIGHEST as HIGHEST_LEVEL
from ._intervals import LEAST as FEWEST_CALIBRATED
from ._intervals import Calibration, require_level
from ._jamie import JAMIE
from ._sealed import is_sealed
from ._sources import SeveralSources
from ._summary import Summary, announce

__all__ = [
    "FEWEST_CALIBRATED",
    "HIGHEST_LEVEL",
    "JAMIE",
    "Calibration",
    "CellConfidence",
    "SeveralSources",
    "Summary",
    "announce",
    "by_rows",
    "is_sealed",
    "isolated",
    "on_threads",
    "require_level",
]
