from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse

from jamie.data import ModalityView, Problem


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def make_mdata():
    """A MuData of the given matrices; cells are named by `cells[name]`, or c0, c1, …"""

    def make(cells=None, **matrices):
        def modality(name, x):
            names = (cells or {}).get(name, [f"c{i}" for i in range(x.shape[0])])
            var = pd.DataFrame(index=[f"{name}{j}" for j in range(x.shape[1])])
            return ad.AnnData(x, obs=pd.DataFrame(index=list(names)), var=var)

        return MuData({name: modality(name, x) for name, x in matrices.items()})

    return make


@pytest.fixture
def make_problem():
    """A Problem of bare cells: sizes by modality, F and F̃ dense or sparse by pair, held-out rows by modality."""

    def make(sizes, known, held_out=None, inferred=None):
        views = {}
        for name, n in sizes.items():
            train = np.ones(n, dtype=bool)
            train[(held_out or {}).get(name, [])] = False
            inputs = np.arange(n, dtype=np.float32)[:, None]
            views[name] = ModalityView(name, pd.RangeIndex(n), inputs, None, train, None)
        known, inferred = (
            {pair: sparse.csr_matrix(f, dtype=np.float32) for pair, f in some.items()}
            for some in (known, inferred or {})
        )
        return Problem(views, known, inferred)

    return make


@pytest.fixture
def never_dense(monkeypatch):
    """Sparse matrices with as many rows as there are cells cannot be made dense."""

    def arm(n_cells):
        for cls in (sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix, sparse.csr_array, sparse.csc_array):
            for method in ("toarray", "todense"):
                original = getattr(cls, method)

                def guarded(self, *args, _original=original, **kwargs):
                    assert n_cells not in self.shape, f"a sparse matrix of shape {self.shape} was made dense"
                    return _original(self, *args, **kwargs)

                monkeypatch.setattr(cls, method, guarded)

    return arm
