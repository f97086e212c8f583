"""Share that was right, by probability."""

from __future__ import annotations

import pandas as pd
import pytest
from numpy.testing import assert_allclose

import jamie as jm


def table(what):
    return pd.DataFrame(
        {"probability": [0.2, 0.4], "share_right": [0.1, 0.5], "n": [30, 10], "calibration_error": 0.1, "floor": 0.05}
        | {"n_cells": 40, "cells": "held-out", "source": "rna", "target": "protein", "what": what}
    )


@pytest.mark.parametrize(("what", "end"), [("label", 1.02), ("partner", 0.561)])
def test_points_stand_where_the_table_has_them(what, end):
    ax = jm.pl.reliability(table(what))
    (points,) = ax.collections
    assert_allclose(points.get_offsets(), [[0.2, 0.1], [0.4, 0.5]])
    assert points.get_sizes()[0] > points.get_sizes()[1]
    assert ax.get_xlim() == pytest.approx((0, end))
    assert ax.get_xlabel() == f"probability of the {what}"
    assert ax.get_title() == "rna → protein, 40 held-out cells\nerror 0.1, of true ones 0.05"
