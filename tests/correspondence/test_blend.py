"""Known and inferred partners in one row."""

from __future__ import annotations

import numpy as np
from jamie.correspondence._blend import with_known
from numpy.testing import assert_allclose
from scipy import sparse

INFERRED = sparse.csr_matrix(np.array([[0.5, 0.5, 0], [0, 0.25, 0.75], [1, 0, 0], [0.2, 0.2, 0.6]], np.float32))


def csr(rows):
    return sparse.csr_matrix(np.array(rows, np.float32))


def test_what_is_inferred_is_the_share_that_is_not_known():
    known = csr([[0, 0, 1], [0, 0, 0], [0, 0.25, 0], [0.3, 0, 0.3]])
    found = with_known(INFERRED, known)
    expected = [[0, 0, 1], [0, 0.25, 0.75], [0.75, 0.25, 0], [0.38, 0.08, 0.54]]
    assert_allclose(found.toarray(), expected, rtol=1e-6)
    assert (found.format, found.dtype) == ("csr", np.float32)
    assert found[0].nnz == 1  # a sure partner leaves nothing behind


def test_a_cell_with_many_sure_partners_is_shared_among_them():
    known = csr([[1, 1, 0], [0, 0, 0], [1, 0.5, 0.5], [0, 0, 0]])
    found = with_known(INFERRED, known)
    assert_allclose(found.toarray()[[0, 2]], [[0.5, 0.5, 0], [0.5, 0.25, 0.25]])
    assert_allclose(found.sum(1), 1)
    assert known.max() == 1  # what was given stays


def test_without_pairs_nothing_changes():
    found = with_known(INFERRED, csr(np.zeros((4, 3))))
    assert_allclose(found.toarray(), INFERRED.toarray())
