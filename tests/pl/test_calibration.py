"""Nominal against measured coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import jamie as jm


def table(kind="counts"):
    rows = [
        ("rna", "atac", group, level, level + 0.05, 0.5, level - 0.1 * (group != "all"), 1.0, n, "held-out", kind)
        for group, n in (("all", 60), ("a", 40), ("b", 15), ("few", 5))
        for level in (0.5, 0.9)
    ]
    columns = ["source", "target", "group", "level", "coverage", "share_with_width", "coverage_with_width", "width"]
    return pd.DataFrame(rows, columns=[*columns, "n_cells", "cells", "kind"])


def test_a_line_for_each_group_with_enough_cells():
    ax = jm.pl.calibration(table())
    lines = {
        line.get_label().split(" (")[0].split(":")[0]: line for line in ax.get_lines() if len(line.get_xdata()) == 2
    }
    assert {"all", "a", "b"} <= set(lines)
    assert "few" not in lines
    assert_allclose(lines["all"].get_ydata(), [0.5, 0.9])
    assert_allclose(lines["a"].get_ydata(), [0.4, 0.8])
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a (40): 0.80", "b (15): 0.80", "all: 0.90"]
    assert "50% of the intervals" in legend.get_title().get_text()
    assert ax.get_title() == "rna → atac, 60 held-out cells"


def test_of_accessibility_every_interval_is_shown():
    ax = jm.pl.calibration(table("accessibility"))
    drawn = [np.asarray(line.get_xydata()) for line in ax.get_lines() if len(line.get_ydata()) == 2]
    assert sum(np.allclose(line, [[0.5, 0.55], [0.9, 0.95]]) for line in drawn) == 3  # all cells and two groups
    assert "all intervals" in ax.get_legend().get_title().get_text()


def test_every_group_is_named_in_the_legend_whatever_it_is_called():
    odd = table().replace({"group": {"a": "_nolegend_", "b": "$\\frac$"}})
    ax = jm.pl.calibration(odd)
    ax.figure.canvas.draw()
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["_nolegend_ (40): 0.80", "$\\frac$ (15): 0.80", "all: 0.90"]


def test_a_table_without_all_cells_is_refused():
    part = table()
    with pytest.raises(ValueError, match=r"rows of all cells .*found groups \['a', 'b', 'few'\]"):
        jm.pl.calibration(part[part["group"] != "all"])
