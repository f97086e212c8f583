"""Contributions of single cells, gathered."""

from __future__ import annotations

import numpy as np
import pytest

from jamie.attribution._contributions import Contribution
from jamie.attribution._explained import gathered


@pytest.mark.parametrize(("rounding", "expected"), [(1e-7, 1e-5), (0.5, None)])
def test_an_output_that_is_0_everywhere_is_judged_beside_the_others(rounding, expected):
    """Probabilities that are cut to 0 leave rounding alone, which divided by nothing would say that nothing adds up."""
    rng = np.random.default_rng(0)
    cells = []
    for i in range(6):
        values, base = rng.normal(size=(3, 2)), np.array([0.2, 0.0])
        values[:, 1] = [rounding, -rounding, rounding]
        explained = values.sum(0) + base
        explained[1] = 0
        cells.append(Contribution(i, values, explained, base))
    found = gathered(iter(cells), (6, 3), rows=np.arange(6), position=np.arange(3), n_outputs=2, n_kept=1)
    assert found.additivity < 0.1 if expected else found.additivity > 1
