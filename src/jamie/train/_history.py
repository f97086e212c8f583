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

    def columns(self) -> dict[str, list[float]]:
        """Rows by column, of which all rows have the same."""
        return {name: [row[name] for row in self.rows] for name in (self.rows[0] if self.rows else ())}

    @classmethod
    def of(cls, columns: Mapping[str, list[float]]) -> History:
        """Read back what `columns` gave."""
        return cls([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])

    def frame(self) -> pd.DataFrame:
        """One row a reading: step, each term, and the validation score where there is one."""
        return pd.DataFrame(self.rows)
