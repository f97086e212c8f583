from __future__ import annotations

import numpy as np
import pytest

from jamie.train import kl_weight, one_cycle
from jamie.train._schedule import averaging_weight


@pytest.mark.parametrize("t_min", [2_500, 300])
def test_kl_weight_is_the_papers_sigmoid(t_min):
    for t in np.linspace(0, 2 * t_min, 9):
        assert kl_weight(t, t_min) == pytest.approx(1 / (1 + np.exp(-5 * (t - t_min / 2) / (t_min / 2))))
    assert kl_weight(0, t_min) == pytest.approx(1 / (1 + np.e**5))
    assert kl_weight(t_min // 2, t_min) == 0.5
    assert kl_weight(t_min, t_min) == pytest.approx(1 / (1 + np.e**-5))


def test_kl_weight_survives_long_and_short_training():
    assert kl_weight(10**9, 10) == pytest.approx(1)
    assert kl_weight(0, 0) < 0.01


def test_one_cycle_rises_for_a_quarter_and_falls_to_almost_nothing():
    rate = np.array([one_cycle(step, 400) for step in range(401)])
    assert rate[0] == pytest.approx(0.04)
    assert rate[50] == pytest.approx(0.52)
    assert rate[100] == pytest.approx(1, abs=1e-3)
    assert rate[250] == pytest.approx(0.5, abs=1e-3)
    assert 0 < rate[-1] < 1e-3
    assert np.all(np.diff(rate[:101]) > 0)
    assert np.all(np.diff(rate[100:]) < 0)
    assert abs(np.diff(rate)).max() < 0.02


@pytest.mark.parametrize("max_steps", [1, 2, 3])
def test_one_cycle_of_a_few_steps_is_a_rate(max_steps):
    assert all(0 < one_cycle(step, max_steps) <= 1.001 for step in range(max_steps))


def test_the_running_average_forgets_the_start_and_then_keeps_its_decay():
    weights = np.array([averaging_weight(step, 0.98) for step in range(1, 2001)])
    assert weights[:490] == pytest.approx(1 / (1 + 0.1 * np.arange(1, 491)))
    assert weights[490:] == pytest.approx(0.02)
    assert np.prod(1 - weights) < 1e-12  # what is left of the first weights
