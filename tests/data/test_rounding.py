"""Features far from 0 beside what they differ by: right wherever the stored type holds them, and told where not."""

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose
from scipy import sparse

import jamie as jm
from jamie.data import CellMatrix, EffectColumns, open_cells, open_for_model, prepare

N, D, AWAY = 120, 5, 2
OFFSET = 2.0**30


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    return np.round(rng.normal(size=(N, 3)) @ rng.normal(size=(3, D)) * 8 + rng.normal(size=(N, D)), 3)


def away(values, offset=OFFSET):
    return values + offset * (np.arange(values.shape[1]) < AWAY)


def modality(x, name="ephys"):
    return ad.AnnData(
        x,
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(x.shape[0])]),
        var=pd.DataFrame(index=[f"{name}{j}" for j in range(x.shape[1])]),
    )


def prepared(x, kind="continuous", **options):
    cells = open_cells(MuData({"ephys": modality(x)}), modalities=["ephys"])
    found = prepare(cells, "ephys", kind=kind, max_value=0.0, **options)
    return found, cells.prepare("ephys", found).inputs


def same_but_for_signs(a, b):
    assert_allclose(a * np.sign((a * b).sum(0)), b, rtol=1e-3, atol=1e-3)


def lazily(x):
    return da.from_array(x, chunks=(50, D))


STORES = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dask": lazily}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_components_do_not_depend_on_an_offset_that_the_stored_type_holds(store, dtype, values):
    x = np.round(values * 8) if dtype is np.int64 else values
    _, expected = prepared(x.astype(np.float64))
    found, inputs = prepared(STORES[store](away(x).astype(dtype)))
    assert found.dtype == np.float64
    same_but_for_signs(inputs, expected)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(("offset", "spread"), [(1e6, 1e-3), (-300.0, 1e-7), (2e7, 1e-2)])
def test_a_feature_that_float32_makes_constant_is_none(store, offset, spread, values):
    x = values.copy()
    x[:, 0] = offset + spread * values[:, 0]
    found, inputs = prepared(STORES[store](x))
    assert found.dtype == np.float64
    same_but_for_signs(inputs, prepared(values)[1])


def test_a_masked_matrix_is_as_exact_as_its_type(values):
    x = np.ma.masked_less(away(values), -10)
    assert_allclose(CellMatrix(x).in_double()[:], np.where(x.mask, np.nan, away(values)), rtol=0)


def test_a_backed_matrix_is_read_in_double_precision(tmp_path, values):
    for name, x in (("dense", away(values)), ("csr", sparse.csr_matrix(away(values)))):
        modality(x).write_h5ad(tmp_path / f"{name}.h5ad")
        backed = ad.read_h5ad(tmp_path / f"{name}.h5ad", backed="r")
        cells = open_cells(MuData({"ephys": backed}), modalities=["ephys"])
        found = prepare(cells, "ephys", kind="continuous", max_value=0.0)
        same_but_for_signs(cells.prepare("ephys", found).inputs, prepared(values)[1])
        backed.file.close()


def test_missing_values_stay_missing(values):
    x = values.copy()
    x[::7, 0] = np.nan
    x[1::5, 4] = np.nan
    same_but_for_signs(prepared(away(x))[1], prepared(x)[1])


def test_what_needs_no_double_precision_is_read_as_before(values):
    found, _ = prepared(values)
    assert found.dtype == np.float32
    found, _ = prepared(values + 1e4)  # float32 rounds to 0.001
    assert found.dtype == np.float32


def test_a_feature_that_does_not_vary_is_no_reason_for_a_warning(values, caplog):
    x = values.copy()
    x[:, 0] = 1e9
    prepared(x)
    prepared(np.column_stack([values[:, 1:], np.full(N, 3.0)]).astype(np.float32))
    assert "rounds" not in caplog.text


@pytest.mark.parametrize("offset", [2.0**20, 2.0**25])
def test_counts_far_from_zero_keep_what_their_logarithms_differ_by(offset):
    """The oracle is the definition in double precision: log1p of counts per median depth, standardised."""
    rng = np.random.default_rng(0)
    x = offset + rng.poisson(20, (N, 3)) @ rng.integers(0, 3, (3, D)) + rng.poisson(3, (N, D))
    found, inputs = prepared(x.astype(np.float64), kind="counts", n_comps=3)
    z = np.log1p(x / x.sum(1, keepdims=True) * np.median(x.sum(1)))
    z = (z - z.mean(0)) / z.std(0)
    u, s, _ = np.linalg.svd(z - z.mean(0), full_matrices=False)
    same_but_for_signs(inputs, (u * s)[:, :3])
    if offset < 2**24:  # held by float32, of which only the logarithms are not
        same_but_for_signs(prepared(x.astype(np.float32), kind="counts", n_comps=3)[1], inputs)
    assert found.dtype == np.float64


LOST = [
    (np.float16, 2.0**14, np.asarray),
    *((dtype, of, store) for dtype, of in ((np.float32, 2.0**30), (np.float64, 2.0**58)) for store in STORES.values()),
]


@pytest.mark.parametrize(("dtype", "offset", "store"), LOST)
def test_what_the_stored_type_has_lost_is_told_by_name(dtype, offset, store, values, caplog):
    prepared(store(away(values, offset).astype(dtype)))
    assert f"{AWAY} of {D} features of `mdata['ephys'].X`, first 'ephys0'" in caplog.text
    assert np.dtype(dtype).name in caplog.text
    assert "subtract a constant" in caplog.text


def test_a_mostly_empty_sparse_matrix_stays_sparse_and_is_told(caplog):
    rng = np.random.default_rng(0)
    x = rng.poisson(0.05, (N, 60)).astype(np.float64)
    x[:, 0] = 2.0**30 + rng.normal(size=N) * 8
    found, _ = prepared(sparse.csr_matrix(x))
    assert found.dtype == np.float32
    assert "1 of 60 features of `mdata['ephys'].X`, first 'ephys0'" in caplog.text


@pytest.fixture(scope="module")
def trained():
    """The same training with and without an offset."""
    mdata = jm.datasets.toy()
    rna = mdata["rna"]
    rng = np.random.default_rng(0)
    logs = np.log1p(np.asarray(rna.X.toarray() if sparse.issparse(rna.X) else rna.X, dtype=np.float64))
    x = (logs - logs.mean(0)) @ rng.normal(size=(logs.shape[1], D))
    x = np.round(8 * x / x.std(0) + rng.normal(size=x.shape), 4)
    made = {}
    for offset in (0.0, OFFSET):
        ephys = modality(away(x, offset))
        ephys.obs_names = rna.obs_names
        ephys.obs["batch"] = np.where(np.arange(rna.n_obs) % 2, "a", "b")
        both = MuData({"rna": rna.copy(), "ephys": ephys})
        jm.pp.split(both, rng=0)
        made[offset] = both, jm.tl.train(both, max_steps=20)
    return made


def imputed(trained, offset, **options):
    mdata, model = trained[offset]
    jm.tl.impute(mdata, model, source="rna", target="ephys", **options)
    return jm.get.imputed(mdata, source="rna", target="ephys")


def test_imputed_values_bounds_and_draws_are_those_without_the_offset(trained):
    plain, far = (imputed(trained, offset, interval=0.8, n_samples=1) for offset in trained)
    assert plain.X.dtype == np.float32
    assert far.X.dtype == np.float64
    shift = away(np.zeros((1, D)))
    assert_allclose(far.X - shift, plain.X, atol=0.02)
    for layer in plain.layers:
        if layer is not None:
            assert_allclose(far.layers[layer] - shift, plain.layers[layer], atol=0.5)


def test_measured_values_are_compared_as_exactly(trained):
    scores = []
    for offset, (mdata, _) in trained.items():
        imputed(trained, offset)
        pair = jm.get.comparison(mdata, source="rna", target="ephys")
        scores.append(pair.measured.corrwith(pair.imputed))
    assert_allclose(*scores, atol=1e-3)


def test_scores_of_model_and_baselines_are_those_without_the_offset(trained):
    tables = [jm.tl.evaluate(mdata, model) for mdata, model in trained.values()]
    for column in ("correlation", "sd_ratio", "js_distance"):
        assert_allclose(*(table[column] for table in tables), atol=0.02)


def test_other_verbs_take_the_offset_as_well(trained):
    plain, far = (mdata for mdata, _ in trained.values())
    for mdata, model in trained.values():
        jm.tl.reconstruct(mdata, model, modality="ephys")
        jm.tl.explain(mdata, model, source="rna", target="ephys", features=["ephys0"], n_cells=3)
    shift = away(np.zeros((1, D)))
    for adata, taken in ((plain["ephys"], 0), (far["ephys"], shift)):
        adata.layers["shifted"] = adata.layers["jamie_reconstructed"] - taken
    assert_allclose(far["ephys"].layers["shifted"], plain["ephys"].layers["shifted"], atol=0.02)
    slot = "jamie_shap_ephys"
    assert_allclose(far["rna"].varm[slot], plain["rna"].varm[slot], atol=0.01)
    assert_allclose(far["rna"].uns[slot]["base"] - OFFSET, plain["rna"].uns[slot]["base"], atol=0.02)
    complete = [jm.tl.complete(mdata["rna"], model, modality="rna")["ephys"].X for mdata, model in trained.values()]
    assert_allclose(complete[1] - shift, complete[0], atol=0.02)


def test_a_file_holds_the_offset_too(trained, tmp_path):
    mdata, model = trained[OFFSET]
    expected = imputed(trained, OFFSET).X
    jm.tl.impute(mdata, model, source="rna", target="ephys", out=tmp_path / "x.h5ad")
    assert_allclose(ad.read_h5ad(tmp_path / "x.h5ad").X, expected, rtol=0, atol=1e-3)


def test_a_saved_model_has_it_as_well(trained, tmp_path):
    mdata, model = trained[OFFSET]
    model.save(tmp_path / "model")
    again = jm.JAMIE.load(tmp_path / "model")
    inputs = open_for_model(mdata, model).inputs("rna")
    assert (again.translate(inputs, "rna", "ephys") == model.translate(inputs, "rna", "ephys")).all()


def test_effects_of_batches_are_taken_off_beside_an_offset(values):
    of_batch = np.where(np.arange(N) % 2, 5.0, 0.0)[:, None]
    found = []
    for x in (values + of_batch, away(values + of_batch)):
        adata = modality(x)
        adata.obs["batch"] = np.where(np.arange(N) % 2, "a", "b")
        cells = open_cells(MuData({"ephys": adata}), modalities=["ephys"])
        columns = EffectColumns.of("batch", ())
        found.append(prepare(cells, "ephys", kind="continuous", columns=columns))
    assert_allclose(found[1].effects.of_batch, found[0].effects.of_batch, atol=1e-3)


def test_a_query_in_single_precision_is_told(trained, caplog):
    mdata, model = trained[OFFSET]
    query = mdata["ephys"].copy()
    query.X = query.X.astype(np.float32)
    jm.tl.embed(query, model, modality="ephys")
    assert "2 of 5 features of `mdata['ephys'].X`, first 'ephys0'" in caplog.text
    assert "float32" in caplog.text


def test_components_of_another_package_are_compared_in_double_precision(values):
    x = away(values)
    centred = values - values.mean(0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    adata = modality(x)
    adata.obsm["X_pca"], adata.varm["PCs"] = (u * s)[:, :3], vt[:3].T
    other = modality(np.random.default_rng(1).poisson(2, (N, 8)).astype(np.float32), "rna")
    mdata = MuData({"rna": other, "ephys": adata})
    jm.pp.prepare(mdata, use_rep={"ephys": "X_pca"})
    assert mdata["ephys"].uns["jamie_input"]["mean"].dtype == np.float64


def test_several_sources_impute_beside_an_offset_too():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(160, 3))
    parts = {name: np.round(z @ rng.normal(size=(3, D)) * 8 + rng.normal(size=(160, D)), 3) for name in ("a", "b", "c")}

    def imputed_at(offset):
        target = away(parts["c"], offset)
        mdata = MuData({name: modality(x, name) for name, x in (parts | {"c": target}).items()})
        model = jm.tl.train(mdata, max_steps=20)
        jm.tl.impute(mdata, model, source=["a", "b"], target="c", interval=0.9)
        return mdata, jm.get.imputed(mdata, source=["a", "b"], target="c")

    mdata, found = imputed_at(OFFSET)
    _, expected = imputed_at(0.0)
    shift = OFFSET * (np.arange(D) < AWAY)
    assert_allclose(found.X - shift, expected.X, rtol=1e-3, atol=1e-2)
    assert_allclose(found.layers["jamie_imputed_upper"] - shift, expected.layers["jamie_imputed_upper"], atol=0.1)
    assert_allclose(mdata["c"].layers["jamie_imputed"] - shift, expected.X, rtol=1e-3, atol=1e-2)
