"""Whether intervals hold what they say, surer cells are imputed better, and cells are like those of the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from jamie._types import Array
from jamie.metrics import is_within, known_mean
from jamie.model import JAMIE, Calibration, CellConfidence

from ._finding import SURE, Finding, Verdict
from ._judged import JudgedDirection

LEVEL = 0.9
SHORT, FAR_SHORT = 0.05, 0.15
"""By which coverage may fall short of the level: at most 0.02 on motor cortex, CITE-seq and the mosaic."""
KNOWN = 0.05
MANY_NEW, MOST_NEW = 0.2, 0.5
"""Shares of cells beyond the threshold of novelty, which is set for `KNOWN`; 0.02 to 0.06 on the public data sets."""


def check_sureness(model: JAMIE, judged: JudgedDirection, inputs: Mapping[str, Array]) -> Iterator[Finding]:
    """Coverage, confidence and novelty of the judged cells, whose prepared inputs by source are (n, k) each."""
    direction = model.direction(tuple(inputs), judged.target)
    shown = judged.source, judged.target
    if direction not in model.calibrations_:
        yield Finding(
            "coverage", *shown, float("nan"), LEVEL, "unknown",
            "the imputation is not calibrated, so that nothing says how far off a value may be",
            "Train with recipe='default' on at least 30 known pairs, jm.tl.train(mdata).",
        )  # fmt: skip
        return
    sure = model.confidence_jointly(inputs, judged.target)
    yield check_coverage(judged, model.calibrations_[direction])
    yield check_confidence(judged, model.calibrations_[direction], sure)
    yield check_novelty(shown, sure)


def check_coverage(judged: JudgedDirection, calibration: Calibration) -> Finding:
    """Share of measured values within their intervals, but of those from 0 to 0, which hold more than they have to."""
    direction, level = (judged.source, judged.target), min(LEVEL, calibration.highest)
    lower, upper = calibration.interval(judged.imputed, level, judged.columns)
    within = is_within(judged.measured, lower, upper)
    wide = np.where(upper > lower, within, np.nan)
    within = within if np.isnan(wide).all() else wide
    value, error = float(known_mean(within)), _error(known_mean(within, axis=1))
    shown = f"{value:.1%} of the measured values lie within their {level:.0%} intervals"
    if not np.isfinite(value):
        return Finding(
            "coverage", *direction, value, level, "unknown", "no feature was measured in enough cells to calibrate it",
            "Train on cells with fewer missing values.",
        )  # fmt: skip
    if value >= level - max(SHORT, SURE * np.nan_to_num(error)):
        return Finding("coverage", *direction, value, level, "good", shown)
    verdict: Verdict = "bad" if value < level - max(FAR_SHORT, SURE * np.nan_to_num(error)) else "doubtful"
    return Finding(
        "coverage", *direction, value, level, verdict, f"{shown}: they are too narrow for these cells",
        "See the row 'novelty', and which types it is, jm.get.calibration(mdata, model, source=..., target=..., "
        "groupby=...); train on cells like these.",
    )  # fmt: skip


def check_confidence(judged: JudgedDirection, calibration: Calibration, sure: CellConfidence) -> Finding:
    """Root mean squared error of the surer half of the cells, as a share of that of the others."""
    direction = judged.source, judged.target
    off = (judged.measured - judged.imputed) / calibration.sd[judged.columns]
    error = np.sqrt(known_mean(np.square(off), axis=1))
    surer = sure.confidence >= np.median(sure.confidence)
    halves = [error[of & np.isfinite(error)] for of in (surer, ~surer)]
    if min(map(len, halves)) < 2:
        return Finding(
            "confidence", *direction, float("nan"), 1.0, "unknown", "all cells are equally sure", "Train on more pairs."
        )
    (a, b), spread = (half.mean() for half in halves), [_error(half) / half.mean() for half in halves]
    value, error_of_value = float(a / b), float(a / b * np.hypot(*spread))
    shown = f"the surer half of the cells errs {value:.2f} ± {error_of_value:.2f} times as much as the other"
    if value < 1 + error_of_value:
        return Finding("confidence", *direction, value, 1.0, "good", shown)
    return Finding(
        "confidence", *direction, value, 1.0, "doubtful", f"{shown}: confidence says nothing of these cells",
        "Do not choose cells by min_confidence; see the row 'novelty'.",
    )  # fmt: skip


def check_novelty(direction: tuple[str, str], sure: CellConfidence) -> Finding:
    """Share of the cells that lie further from the training cells than one in twenty known ones."""
    value, n = float((sure.novelty > 1).mean()), len(sure.novelty)
    room = SURE * np.sqrt(KNOWN * (1 - KNOWN) / n)
    shown = f"{value:.1%} of the cells are unlike those of the training, of which {KNOWN:.0%} would be"
    if value <= max(MANY_NEW, KNOWN + room):
        return Finding("novelty", *direction, value, KNOWN, "good", shown)
    verdict: Verdict = "bad" if value > max(MOST_NEW, KNOWN + room) else "doubtful"
    return Finding(
        "novelty", *direction, value, KNOWN, verdict, f"{shown}: another protocol, batch or types that were not there",
        "Train on such cells as well; leave out those beyond 1 in the novelty that jm.tl.embed(mdata, model) writes.",
    )  # fmt: skip


def _error(of_cells: Array) -> float:
    """Standard error of a mean over cells."""
    seen = of_cells[np.isfinite(of_cells)]
    return float(seen.std(ddof=1) / np.sqrt(len(seen))) if len(seen) > 1 else float("nan")
