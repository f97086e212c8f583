"""Whether held-out cells are imputed as well as by a regression, how narrowly, and what depth or batch explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy import sparse

from jamie._types import Array
from jamie.data import Cells
from jamie.metrics import compare_methods, correlation_error, feature_correlation, known_mean, sd_ratio

from ._finding import SURE, Finding, Verdict
from ._judged import JudgedDirection, dummies, labels_of

LEAST = 0.05
"""Mean correlation below which nothing is imputed: 0.14 is the least on the public data sets, and permuted pairs leave
−0.2 to 0.08."""
BELOW = 0.02
NARROW, WIDE = 0.5, 1.6
FLAT = 0.05
LEFT, PART_LEFT = 0.25, 0.5
ROUNDING = 1e-6
NOTHING = (
    "See the rows 'pairs' and 'kind'; jm.tl.diagnose(mdata, model, negative_control=True) tells whether the pairs say "
    "anything, jm.pl.imputation(mdata, ...) which features can be imputed."
)


def check_imputation(judged: JudgedDirection, rng: np.random.Generator) -> Finding:
    """Mean correlation of held-out cells, beside the supervised kernel regression that the model carries."""
    correlation = feature_correlation(judged.measured, judged.imputed)
    value, error = float(known_mean(correlation)), correlation_error(judged.measured, judged.imputed, rng=rng)
    if judged.regressed is None:
        return imputation_finding((judged.source, judged.target), value, error)
    kernel = float(known_mean(feature_correlation(judged.measured, judged.regressed)))
    gain = compare_methods(judged.measured, judged.imputed, judged.regressed, rng=rng)
    return imputation_finding((judged.source, judged.target), value, error, kernel, gain.standard_error)


def imputation_finding(
    direction: tuple[str, str], value: float, error: float, kernel: float = float("nan"), gain_error: float = 0.0
) -> Finding:
    """Judge a mean correlation with its standard error, and that of the kernel regression beside it."""
    shown = f"mean correlation {value:.3f} ± {error:.3f}"
    shown += f", of supervised kernel regression alone {kernel:.3f}" if np.isfinite(kernel) else ""
    if not value > max(LEAST, SURE * np.nan_to_num(error)):
        return Finding(
            "imputation", *direction, value, kernel, "bad", f"{shown}: nothing of the cells is imputed", NOTHING
        )
    if value < kernel - max(BELOW, SURE * np.nan_to_num(gain_error)):
        return Finding(
            "imputation", *direction, value, kernel, "doubtful", f"{shown}: the networks take away from it",
            "Train with the recipe's own settings, jm.tl.train(mdata), and longer if the row 'training' says so; "
            "compare on other splits, jm.pp.split(mdata, rng=1).",
        )  # fmt: skip
    return Finding("imputation", *direction, value, kernel, "good", shown)


def check_together(judged: JudgedDirection, alone: Mapping[str, Array], rng: np.random.Generator) -> Finding:
    """Mean correlation from several sources, beside that from the best of them alone in the same cells.

    Parameters
    ----------
    judged
        What is imputed from all of them.
    alone
        By source, what is imputed from it alone, (n, d).
    rng
        Of the cells that are resampled.
    """
    direction = judged.source, judged.target
    value, error = (
        float(known_mean(feature_correlation(judged.measured, judged.imputed))),
        correlation_error(judged.measured, judged.imputed, rng=rng),
    )
    of_source = {name: float(known_mean(feature_correlation(judged.measured, x))) for name, x in alone.items()}
    best = max(of_source, key=lambda name: np.nan_to_num(of_source[name], nan=-np.inf))
    gain = compare_methods(judged.measured, judged.imputed, alone[best], rng=rng)
    shown = f"mean correlation {value:.3f} ± {error:.3f}, from {best!r} alone {of_source[best]:.3f} in the same cells"
    if not value > max(LEAST, SURE * np.nan_to_num(error)):
        return Finding("imputation", *direction, value, of_source[best], "bad", f"{shown}: nothing is imputed", NOTHING)
    if gain.difference < -max(BELOW, SURE * np.nan_to_num(gain.standard_error)):
        return Finding(
            "imputation", *direction, value, of_source[best], "doubtful", f"{shown}: the others take away from it",
            f"Impute from it alone, jm.tl.impute(mdata, model, source={best!r}, target={judged.target!r}).",
        )  # fmt: skip
    return Finding("imputation", *direction, value, of_source[best], "good", shown)


def check_spread(judged: JudgedDirection) -> Finding:
    """Spread of the imputed values as a share of the measured, median over features, beside that of the regression."""
    value = _median(sd_ratio(judged.measured, judged.imputed))
    beside = float("nan") if judged.regressed is None else _median(sd_ratio(judged.measured, judged.regressed))
    shown = f"imputed values have {value:.2f} of the measured standard deviation"
    shown += f", those of the regression {beside:.2f}" if np.isfinite(beside) else ""
    direction = judged.source, judged.target
    if value < FLAT:
        return Finding("spread", *direction, value, beside, "bad", f"{shown}: all cells get about the mean", NOTHING)
    if value < NARROW * np.nan_to_num(beside):
        return Finding(
            "spread", *direction, value, beside, "doubtful", f"{shown}: too narrow",
            "Train longer, or with the recipe's own dropout: jm.tl.train(mdata).",
        )  # fmt: skip
    if value > max(1.1, WIDE * np.nan_to_num(beside)):
        return Finding(
            "spread", *direction, value, beside, "doubtful", f"{shown}: training cells were learned by heart",
            "Take recipe='default', which stops in time, and no more steps than it asks for.",
        )  # fmt: skip
    return Finding("spread", *direction, value, beside, "good", shown)


def check_disguises(
    cells: Cells, judged: JudgedDirection, *, column: str | None, batch_key: str | None
) -> Iterator[Finding]:
    """Correlation that is left beyond a cell's depth, and beyond its batch, within labels where they are known."""
    source = judged.source
    labels = labels_of(cells, column, source)
    within = np.empty((len(judged.rows[0]), 0)) if labels is None else dummies(labels[judged.rows[0]])
    before, error = beyond(judged, within), correlation_error(judged.measured, judged.imputed)
    little = not before > max(LEAST, SURE * np.nan_to_num(error))
    depth = _depth(cells, judged)
    if depth is not None:
        yield _left(judged, "depth", before, beyond(judged, np.column_stack([within, depth])), little=little)
    batches = labels_of(cells, batch_key, source)
    if batches is not None:
        of_batch = dummies(batches[judged.rows[0]])
        if of_batch.shape[1] > 1:
            yield _left(judged, "batch", before, beyond(judged, np.column_stack([within, of_batch])), little=little)


def beyond(judged: JudgedDirection, known: Array) -> float:
    """Mean correlation of what `known`, (n, k), does not explain of measured and imputed values; NaN if that is all."""
    x = np.column_stack([known, np.ones(len(judged.measured))])
    measured = np.nan_to_num(judged.measured - known_mean(judged.measured, axis=0))
    left = [_unexplained(x, y) for y in (measured, judged.imputed.astype(float))]
    return float(known_mean(feature_correlation(*left)))


def _unexplained(x: Array, y: Array) -> Array:
    """What least squares on x leaves of each column of y; NaN where that is rounding alone."""
    left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return np.where(left.std(axis=0) > ROUNDING * np.abs(y).max(axis=0, initial=0), left, np.nan)


def _depth(cells: Cells, judged: JudgedDirection) -> Array | None:
    """Sum of a cell's values, and its logarithm, in each modality without negative ones, (n, k); `None` if none."""
    known = []
    for name, rows in zip((judged.source, judged.target), judged.rows, strict=True):
        x = cells.matched(name).cells[rows]
        total = np.asarray(x.sum(axis=1)).ravel() if sparse.issparse(x) else np.nansum(x, axis=1)
        if (x.data if sparse.issparse(x) else np.nan_to_num(x)).min(initial=0) >= 0 and np.ptp(total) > 0:
            known += [total / total.max(), np.log1p(total)]
    return np.column_stack(known) if known else None


def _left(judged: JudgedDirection, what: str, before: float, after: float, *, little: bool) -> Finding:
    """Judge what is left of a correlation beyond depth or batch."""
    direction, measure = (judged.source, judged.target), f"beyond {what}"
    shown = f"correlation {after:.3f} is left beyond the {what} of a cell, of {before:.3f}"
    if not np.isfinite(before) or not np.isfinite(after):
        return Finding(
            measure, *direction, after, before, "unknown",
            f"labels and {what} differ from cell to cell, so that nothing is left to judge",
            "Pass labels of more cells each, jm.tl.diagnose(mdata, model, labels=...).",
        )  # fmt: skip
    if little:
        return Finding(
            measure, *direction, after, before, "unknown", f"{shown}: too little to take anything from",
            "See the row 'imputation'.",
        )  # fmt: skip
    if after >= PART_LEFT * before:
        return Finding(measure, *direction, after, before, "good", shown)
    mend = {
        "depth": "See the row 'kind': counts that are taken as 'continuous' keep their depth, jm.pp.prepare(mdata, "
        "kinds=...) sets the kind; filter cells by depth.",
        "batch": "Hold out whole batches, jm.pp.split(mdata, group=...), and believe that score.",
    }
    verdict: Verdict = "bad" if after < LEFT * before else "doubtful"
    return Finding(measure, *direction, after, before, verdict, f"{shown}: {what} in disguise", mend[what])


def _median(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")
