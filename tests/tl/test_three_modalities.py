"""Three modalities in whatever pattern they were measured: all verbs give finite values, or say why they cannot."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse

import jamie as jm
from jamie.train import RECIPES

RECIPE = replace(RECIPES["default"], hidden=(8,), n_latent=4, max_steps=8, cycles=1, batch_size=16)
NAMES = ("rna", "ephys", "morph")
PATTERNS = tuple(group for n in (1, 2, 3) for group in combinations(NAMES, n))
"""The seven ways in which a cell can be measured."""
N = 16  # cells of each pattern


def measured(patterns, sizes=None, holes=False, seed=0):
    """A MuData with cells of these patterns."""
    rng = np.random.default_rng(seed)
    cells = [(f"c{i}_{j}", pattern) for i, pattern in enumerate(patterns) for j in range((sizes or {}).get(pattern, N))]
    z = rng.normal(size=(len(cells), 3))
    kinds = np.argmax(z, axis=1)
    modalities = {}
    for name in NAMES:
        rows = [i for i, (_, pattern) in enumerate(cells) if name in pattern]
        if not rows:
            continue
        level = z[rows] @ np.random.default_rng(len(name)).normal(size=(3, 9))
        if name == "rna":
            x = sparse.csr_matrix(rng.poisson(np.exp(0.5 * level + 1)).astype(np.float32))
        else:
            x = (level + 0.2 * rng.normal(size=level.shape)).astype(np.float32)
        if name == "morph" and holes:  # a class of cells has no value of some features
            x[np.ix_(kinds[rows] == 0, range(3))] = np.nan
        obs = pd.DataFrame(
            {"cell_type": pd.Categorical([f"t{kinds[i]}" for i in rows])}, index=[cells[i][0] for i in rows]
        )
        modalities[name] = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"{name}{j}" for j in range(9)]))
    return MuData(modalities)


def finite(values):
    return bool(np.isfinite(np.asarray(values, dtype=float)).all())


def works(mdata):
    """Train, and call each verb; raises an error of jamie, or is `True` if all that they gave is finite."""
    jm.pp.split(mdata, test_fraction=0.3)
    model = jm.tl.train(mdata, recipe=RECIPE)
    for name in mdata.mod:
        assert finite(mdata[name].obsm["X_jamie"])
    assert finite(mdata.obsm["X_jamie"])
    for target in mdata.mod:
        sources = [name for name in mdata.mod if name != target]
        for source in (*sources, sources):
            jm.tl.impute(mdata, model, source=source, target=target)
            assert finite(jm.get.imputed(mdata, source=source, target=target).X)
    whole = jm.tl.complete(mdata, model)
    for name in mdata.mod:
        assert whole[name].n_obs == mdata.n_obs
        x = whole[name].X[whole[name].obs["jamie_imputed"].to_numpy()]
        assert finite(x.toarray() if sparse.issparse(x) else x)
    table = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["ridge", "supervised_kernel_ridge"])
    assert finite(table["correlation"])
    assert finite(table.loc[table["method"] == "jamie", "foscttm"])
    return True


def is_connected(patterns):
    """Whether each modality shares cells with another."""
    present = {name for pattern in patterns for name in pattern}
    linked = {name for pattern in patterns if len(pattern) > 1 for name in pattern}
    return len(present) > 1 and present == linked


EVERY = [group for n in range(1, 8) for group in combinations(PATTERNS, n)]


@pytest.mark.slow
@pytest.mark.parametrize("patterns", EVERY, ids=lambda group: "+".join("".join(n[0] for n in p) for p in group))
def test_every_set_of_patterns(patterns):
    """Of all 127 sets of the seven patterns those work in which each modality shares cells with another."""
    if is_connected(patterns):
        assert works(measured(patterns, holes=True))
    else:
        with pytest.raises(jm.JamieError):
            works(measured(patterns, holes=True))


CASES = {
    "all": {"patterns": PATTERNS},
    "complete": {"patterns": (NAMES,)},
    "chain": {"patterns": (("rna", "ephys"), ("ephys", "morph"))},
    "chain, other way": {"patterns": (("rna", "morph"), ("rna", "ephys"), ("morph",))},
    "pairs of each two": {"patterns": PATTERNS[3:6]},
    "one cell alone": {"patterns": PATTERNS, "sizes": {("rna",): 1, ("ephys",): 1, ("morph",): 1}},
    "one cell in all three": {"patterns": PATTERNS, "sizes": {NAMES: 1}},
    "one pair of two": {"patterns": PATTERNS[3:6], "sizes": {("rna", "morph"): 1}},
    "holes": {"patterns": PATTERNS, "holes": True},
    "a chain with holes": {"patterns": (("rna", "ephys"), ("ephys", "morph")), "holes": True},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_was_measured_in_part_trains_and_is_imputed(case):
    assert works(measured(**case))


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"patterns": (("rna",), ("ephys",), ("morph",))}, "with a partner in another modality|found none"),
        ({"patterns": (("rna", "ephys"), ("morph",))}, r"mdata\['morph'\].*found none"),
        ({"patterns": (("rna",),)}, "at least two modalities"),
    ],
)
def test_what_shares_no_cells_is_told(case, message):
    with pytest.raises(jm.JamieError, match=message):
        works(measured(**case))
