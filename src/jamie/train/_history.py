"""What happened in training, a row for each time the losses were read."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from ._objective import Losses


@dataclass
class History:
    """Losses by step, kept as plain numbers."""

    rows: list[dict[str, float]] = field(default_factory=list)

    def add(self, step: int, losses: Losses, **more: float) -> None:
        """Read the losses of a step from the device."""
        self.rows.append({"step": step, **{name: value.item() for name, value in losses._asdict().items()}, **more})

    def frame(self) -> pd.DataFrame:
        """One row a reading: step, each term, and the validation score where there is one."""
        return pd.DataFrame(self.rows)
