"""What happened in training, a row for each time the losses were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass
class History:
    """Losses by step, kept as plain numbers."""

    rows: list[dict[str, float]] = field(default_factory=list)

    def add(self, step: int, losses: Mapping[str, float], **more: float) -> None:
        """Add the losses of a step by name."""
        self.rows.append({"step": step, **losses, **more})

    def frame(self) -> pd.DataFrame:
        """One row a reading: step, each term, and the validation score where there is one."""
        return pd.DataFrame(self.rows)
