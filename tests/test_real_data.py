"""Public data sets: each is read, recognised, trained on for a moment and imputed, without a warning."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import jamie as jm
from jamie._compat import quiet_mudata

pytestmark = pytest.mark.real

KINDS = {
    "patchseq_motor_cortex": {"rna": "counts", "ephys": "continuous"},
    "patchseq_motor_trio": {"rna": "counts", "ephys": "continuous", "morph": "continuous"},
    "patchseq_fuzik2016": {"rna": "counts", "ephys": "continuous"},
    "citeseq_pbmc_mosaic": {"rna": "counts", "protein": "protein"},
    "citeseq_pbmc10k": {"rna": "counts", "protein": "protein"},
    "scgem": {"rna": "continuous", "met": "continuous"},
    "sim_dyngen_rna_protein": {"rna": "counts", "protein": "protein"},
    "sim_rna_atac_5types": {"rna": "continuous", "atac": "accessibility"},
    "snareseq_cellline": {"rna": "continuous", "atac": "continuous"},
    "snareseq_mouse_cortex": {"rna": "counts", "atac": "accessibility"},
}
SLOW = {"citeseq_pbmc10k", "snareseq_mouse_cortex"}  # with all their cells
N_CELLS = 400  # of the others
CHANCE = 0.6  # of few pairs
ALIGNED = {  # held-out FOSCTTM after a moment's training; 0.5 is chance, pairs carry little in the others
    "patchseq_motor_cortex": 0.3,
    "patchseq_motor_trio": 0.45,
    "citeseq_pbmc_mosaic": 0.3,
    "citeseq_pbmc10k": 0.3,
    "snareseq_cellline": 0.4,
    "sim_dyngen_rna_protein": 0.3,
    "sim_rna_atac_5types": 0.4,
}


def load(data_dir, name, n_cells=None):
    """A set, or some of its cells."""
    if not (data_dir / f"{name}.h5mu").is_file():
        pytest.skip(f"{name}.h5mu is not in JAMIE_DATA_DIR")
    mdata = jm.datasets.load(name, folder=data_dir)
    if n_cells is None or mdata.n_obs <= n_cells:
        return mdata
    with quiet_mudata():
        return mdata[np.sort(np.random.default_rng(0).choice(mdata.n_obs, n_cells, replace=False))].copy()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in KINDS]
)
def test_main_job(data_dir, name):
    mdata = load(data_dir, name, None if name in SLOW else N_CELLS)
    before = {m: (adata.X.copy(), adata.shape) for m, adata in mdata.mod.items()}
    jm.pp.split(mdata)
    model = jm.tl.train(mdata, max_steps=30)
    assert {m: preparation.kind for m, preparation in model.preparations_.items()} == KINDS[name]
    assert mdata.obsm["X_jamie"].shape == (mdata.n_obs, 32)
    assert np.isfinite(mdata.obsm["X_jamie"]).all()
    for source, target in permutations(mdata.mod, 2):
        features = mdata[target].var_names[:200]
        jm.tl.impute(mdata, model, source=source, target=target, features=features)
        values = mdata[source].obsm[f"jamie_imputed_{target}"]
        assert values.shape == (mdata[source].n_obs, len(features))
        assert np.isfinite(values.to_numpy()).all()
        if KINDS[name][target] == "accessibility":
            assert values.to_numpy().min() >= 0
            assert values.to_numpy().max() <= 1
    table = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["mean"], n_features=200)
    assert (table["cells"] == "held-out").all()
    ours = table[table["method"] == "jamie"]
    assert (ours["correlation"] > (-0.1 if mdata.n_obs < 100 else 0)).all()
    assert (ours["foscttm"].dropna() < ALIGNED.get(name, CHANCE)).all()  # none of several sources at once
    for m, (x, shape) in before.items():
        assert mdata[m].shape == shape
        assert (x != mdata[m].X).nnz == 0 if sparse.issparse(x) else np.array_equal(x, mdata[m].X, equal_nan=True)


def test_mosaic_drops_no_cell_and_fills_every_hole(data_dir):
    mdata = load(data_dir, "citeseq_pbmc_mosaic")
    model = jm.tl.train(mdata, max_steps=40)
    rna, protein = mdata["rna"].obs_names, mdata["protein"].obs_names
    only_rna, only_protein = rna.difference(protein), protein.difference(rna)
    assert (mdata.n_obs, len(only_rna), len(only_protein)) == (1600, 400, 400)
    assert np.isfinite(mdata.obsm["X_jamie"]).all()
    assert model.preparations_["rna"].n_fitted == model.preparations_["protein"].n_fitted == 1200

    jm.tl.impute(mdata, model, source="rna", target="protein")
    jm.tl.impute(mdata, model, source="protein", target="rna")
    proteins, genes = mdata["rna"].obsm["jamie_imputed_protein"], mdata["protein"].obsm["jamie_imputed_rna"]
    assert np.isfinite(proteins.loc[only_rna].to_numpy()).all()
    assert np.isfinite(genes.loc[only_protein].to_numpy()).all()

    whole = jm.tl.complete(mdata, model)
    assert set(whole.obs_names) == set(mdata.obs_names)
    for name, adata in whole.mod.items():
        assert adata.n_obs == 1600
        assert adata.obs["jamie_imputed"].sum() == 400
        assert (adata[mdata[name].obs_names].X != mdata[name].X).nnz == 0
        assert np.isfinite(adata.X.data).all()

    # An imputed cell lies among measured cells of its own type.
    normalised = model.preparations_["protein"].measured(mdata["protein"].X).toarray()
    sd = normalised.std(0) + 1e-6
    measured = pd.DataFrame(normalised / sd, index=protein)
    labels = mdata.obs["cell_type"].astype(str)
    distance = ((proteins.loc[only_rna].to_numpy()[:, None] / sd - measured.to_numpy()[None, ::3]) ** 2).sum(2)
    nearest = labels[measured.index[::3]].to_numpy()[distance.argmin(1)]
    assert (nearest == labels[only_rna].to_numpy()).mean() > 0.6


def test_gaps_in_electrophysiology(data_dir):
    mdata = load(data_dir, "patchseq_motor_cortex", N_CELLS)
    rng = np.random.default_rng(0)
    gaps = rng.random(mdata["ephys"].shape) < 0.1
    mdata["ephys"].X[gaps] = np.nan
    jm.pp.split(mdata)
    model = jm.tl.train(mdata, max_steps=30)
    assert np.isfinite(mdata.obsm["X_jamie"]).all()
    table = jm.tl.evaluate(mdata, model, baselines=[])
    assert table.loc[table["target"] == "ephys", "correlation"].item() > 0.2


@pytest.mark.slow
def test_paper_recipe_on_motor_cortex(data_dir):
    mdata = load(data_dir, "patchseq_motor_cortex")
    jm.pp.prepare(mdata, kinds={"rna": "continuous"}, n_comps=512)
    model = jm.tl.train(mdata, recipe="paper", dropout=0, batch_size=256, max_steps=5)
    assert model.preparations_["rna"].loadings.shape[1] == 512
    assert model.history_["step"].iloc[-1] == 5 * (1208 // 256)
    assert model.history_["total"].iloc[-1] < model.history_["total"].iloc[0]
