"""What one check of a trained model found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import pandas as pd

from jamie._types import Verdict

SURE = 3.0
"""Standard errors that make a difference sure."""


@dataclass(frozen=True)
class Finding:
    """A measure, what it is beside, and what follows.

    Attributes
    ----------
    measure
        Name of the check.
    source, target
        Modalities; the second is empty where the check is of one of them, both where it is of the training.
    value
        Of the measure; NaN where it could not be taken.
    reference
        What the value is judged beside: chance, a simple method, or the most there could be; NaN where there is none.
    verdict
        ``"good"``, ``"doubtful"``, ``"bad"``, or ``"unknown"`` where nothing could be measured.
    finding
        One sentence: what was found.
    next_step
        One sentence with the call that helps; empty where the verdict is good.
    """

    measure: str
    source: str
    target: str
    value: float
    reference: float
    verdict: Verdict
    finding: str
    next_step: str = ""


COLUMNS = tuple(field.name for field in fields(Finding))


def as_table(findings: list[Finding]) -> pd.DataFrame:
    """A row for each finding, in their order."""
    return pd.DataFrame([asdict(finding) for finding in findings], columns=list(COLUMNS))
