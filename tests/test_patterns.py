from __future__ import annotations

import numpy as np
import pytest

from jamie._patterns import patterns


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 30])
def test_each_feature_with_a_value_is_in_one_group_with_the_cells_that_have_it(n, share):
    rng = np.random.default_rng(n)
    values = rng.normal(size=(n, 6))
    values[rng.random(values.shape) < share] = np.nan
    values = values[:, [0, 1, 2, 3, 4, 5, 0, 2]]
    groups = patterns(values)
    columns = np.concatenate([group.columns for group in groups] or [[]]).tolist()
    assert sorted(columns) == np.flatnonzero(~np.isnan(values).all(0)).tolist()
    masks = {(~np.isnan(values[:, j])).tobytes() for j in columns}
    assert len(groups) == len(masks)
    for group in groups:
        for j in group.columns:
            assert group.rows.tolist() == np.flatnonzero(~np.isnan(values[:, j])).tolist()
    sizes = [len(group.rows) * len(group.columns) for group in groups]
    assert sizes == sorted(sizes, reverse=True)


def test_without_values_there_are_no_groups():
    assert patterns(np.full((4, 3), np.nan)) == []
    assert patterns(np.empty((4, 0))) == []
