from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from jamie.data._moments import combined, moments


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("share_missing", [0.0, 0.2])
def test_blocks_together_have_the_moments_of_the_whole(container, share_missing):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(230, 6)) * [1, 10, 0.1, 1, 1, 0] + [0, 1e3, 0, 5, 0, 7.1]
    x[:, 4] = rng.poisson(0.2, 230)
    x[rng.random(x.shape) < share_missing] = np.nan
    found = combined(moments(container(block)) for block in (x[:90], x[90:90], x[90:91], x[91:]))
    oracle = StandardScaler().fit(x)
    assert_allclose(found.mean, oracle.mean_, rtol=1e-10)
    assert_allclose(found.sd, oracle.scale_, rtol=1e-7)
    assert found.sd[5] == 1


def test_a_feature_missing_in_a_whole_block_counts_in_the_others():
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[:20, 1] = np.nan
    found = combined(moments(block) for block in (x[:20], x[20:]))
    assert_allclose(found.mean[1], x[20:, 1].mean())
    assert_allclose(found.sd[1], x[20:, 1].std())
