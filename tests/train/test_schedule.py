from __future__ import annotations

import numpy as np
import pytest

from jamie.train import kl_weight, one_cycle
from jamie.train._schedule import averaging_weight, cycle_ends


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
    rate = np.array([one_cycle(step, [400]) for step in range(401)])
    assert rate[0] == pytest.approx(0.04)
    assert rate[50] == pytest.approx(0.52)
    assert rate[100] == pytest.approx(1, abs=1e-3)
    assert rate[250] == pytest.approx(0.5, abs=1e-3)
    assert rate[-1] == pytest.approx(1e-4)
    assert np.all(np.diff(rate[:101]) > 0)
    assert np.all(np.diff(rate[100:]) < 0)
    assert abs(np.diff(rate)).max() < 0.02


def test_a_cycle_of_one_step_learns():
    assert one_cycle(1, [1]) > 0.1
    assert one_cycle(5, [4, 5]) > 0.1


@pytest.mark.parametrize(
    ("max_steps", "cycles", "ends"),
    [(700, 3, [100, 300, 700]), (100, 3, [14, 43, 100]), (300, 2, [100, 300]), (400, 1, [400]), (3, 3, [1, 1, 3])],
)
def test_each_round_is_twice_as_long_as_the_one_before(max_steps, cycles, ends):
    assert cycle_ends(max_steps, cycles) == ends


def test_the_rate_takes_the_same_course_in_every_round():
    ends = [100, 300, 700]
    first = [one_cycle(step, ends) for step in range(1, 101)]
    assert first == [one_cycle(step, [100]) for step in range(1, 101)]
    assert [one_cycle(100 + 2 * step, ends) for step in range(1, 101)] == pytest.approx(first)
    assert [one_cycle(300 + 4 * step, ends) for step in range(1, 101)] == pytest.approx(first)
    for end in ends:
        assert one_cycle(end, ends) < 1e-3
    for start in ends[:-1]:
        assert 0.04 <= one_cycle(start + 1, ends) < 0.05


@pytest.mark.parametrize("cycles", [1, 2, 3])
@pytest.mark.parametrize("max_steps", [1, 2, 3, 4, 5, 6, 7, 8])
def test_cycles_of_a_few_steps_have_a_rate_and_end_with_the_last(max_steps, cycles):
    ends = cycle_ends(max_steps, cycles)
    assert ends == sorted(ends)
    assert ends[0] >= 1
    assert ends[-1] == max_steps
    assert all(0 < one_cycle(step, ends) <= 1.001 for step in range(max_steps + 1))


def test_the_running_average_forgets_the_start_and_then_keeps_its_decay():
    weights = np.array([averaging_weight(step, 0.98) for step in range(1, 2001)])
    assert weights[:490] == pytest.approx(1 / (1 + 0.1 * np.arange(1, 491)))
    assert weights[490:] == pytest.approx(0.02)
    assert np.prod(1 - weights) < 1e-12  # what is left of the first weights
