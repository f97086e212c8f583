"""Verdicts on coverage, confidence and novelty, where the right ones are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import jamie as jm
from jamie.diagnosis import JudgedDirection, check_confidence, check_coverage, check_novelty, check_sureness
from jamie.model import CellConfidence

PAIR = ("rna", "protein")


def judged(measured, imputed):
    rows = np.arange(len(measured)), np.arange(len(measured))
    return JudgedDirection(*PAIR, rows, measured, imputed, None)


def calibration(half_width, d, *, highest=0.98):
    """Intervals of one width; those of the first feature have none."""
    widths = np.where(np.arange(d) > 0, half_width, 0)
    return SimpleNamespace(
        highest=highest, interval=lambda imputed, level, columns: (imputed - widths, imputed + widths), sd=np.ones(d)
    )


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    imputed = rng.normal(size=(300, 20))
    measured = imputed + rng.normal(size=imputed.shape)
    measured[:, 0] = imputed[:, 0]  # 0 to 0, and right
    return judged(measured, imputed)


@pytest.mark.parametrize(
    ("half_width", "value", "verdict"),
    [(1.645, 0.9, "good"), (3.0, 0.997, "good"), (1.2, 0.77, "doubtful"), (0.8, 0.576, "bad")],
)
def test_coverage_that_falls_short_is_told_and_intervals_without_width_do_not_count(cells, half_width, value, verdict):
    finding = check_coverage(cells, calibration(half_width, 20))
    assert (finding.measure, finding.source, finding.target) == ("coverage", *PAIR)
    assert finding.value == pytest.approx(value, abs=0.02)
    assert finding.reference == 0.9
    assert finding.verdict == verdict
    assert bool(finding.next_step) == (verdict != "good")


def test_of_regions_all_intervals_count_and_few_pairs_give_a_lower_level(cells):
    finding = check_coverage(cells, calibration(0, 20, highest=0.85))
    assert finding.value == pytest.approx(1 / 20)
    assert finding.reference == 0.85
    assert finding.verdict == "bad"


def test_coverage_of_what_was_not_measured_is_unknown(cells):
    nothing = judged(np.full_like(cells.measured, np.nan), cells.imputed)
    assert check_coverage(nothing, calibration(1, 20)).verdict == "unknown"


@pytest.mark.parametrize(("effect", "verdict"), [(1.0, "good"), (0.0, "good"), (-1.0, "doubtful")])
def test_confidence_is_good_where_surer_cells_err_less(effect, verdict):
    rng = np.random.default_rng(1)
    confidence = rng.uniform(size=400)
    imputed = np.zeros((400, 30))
    measured = rng.normal(size=imputed.shape) * np.exp(-effect * confidence)[:, None]
    measured[::7, :3] = np.nan
    finding = check_confidence(judged(measured, imputed), calibration(1, 30), CellConfidence(confidence, confidence))
    error = np.sqrt(np.nanmean(measured**2, axis=1))
    surer = confidence >= np.median(confidence)
    assert finding.value == pytest.approx(error[surer].mean() / error[~surer].mean())
    assert finding.verdict == verdict


def test_cells_that_are_equally_sure_tell_nothing(cells):
    same = np.full(300, 0.5)
    assert check_confidence(cells, calibration(1, 20), CellConfidence(same, same)).verdict == "unknown"


@pytest.mark.parametrize(
    ("share", "n", "verdict"),
    [(0.05, 400, "good"), (0.15, 400, "good"), (0.3, 400, "doubtful"), (0.8, 400, "bad"), (0.3, 10, "doubtful")],
)
def test_many_new_cells_are_told(share, n, verdict):
    novelty = np.where(np.arange(n) < share * n, 1.5, 0.5)
    finding = check_novelty(PAIR, CellConfidence(novelty, novelty))
    assert finding.value == pytest.approx(share)
    assert finding.verdict == verdict


def test_a_model_that_is_not_calibrated_says_so(cells):
    model = SimpleNamespace(calibrations_={}, direction=lambda sources, target: (sources[0], target))
    (finding,) = check_sureness(model, cells, {cells.source: np.zeros((300, 2))})
    assert (finding.measure, finding.verdict) == ("coverage", "unknown")
    assert "30 known pairs" in finding.next_step


def test_the_rows_are_those_of_the_cells_that_are_judged(trained):
    mdata, model = trained
    table = jm.tl.diagnose(mdata, model).set_index(["measure", "source"])
    for source, target in (("rna", "protein"), ("protein", "rna")):
        of_levels = jm.get.calibration(mdata, model, source=source, target=target, levels=[0.9]).iloc[0]
        assert table.loc[("coverage", source), "value"] == pytest.approx(of_levels["coverage_with_width"])
        rows = mdata[source].obs["jamie_role"] == "held-out"
        both = mdata[source].obs_names.isin(mdata[target].obs_names)
        novelty = mdata[source].obs[f"jamie_novelty_{target}"][rows & both]
        assert table.loc[("novelty", source), "value"] == pytest.approx((novelty > 1).mean())
        assert ("confidence", source) in table.index
