from __future__ import annotations

from dataclasses import FrozenInstanceError

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie import data
from jamie._keys import Keys
from jamie.data import EffectColumns, Preparation, open_cells, require_several, writable


def read(mdata, *, modalities=None, key_added="jamie", **options):
    return data.read(open_cells(mdata, modalities=modalities, keys=Keys(key_added)), **options)


def prepare(mdata, name, *, layer=None, **options):
    return data.prepare(open_cells(mdata, layer=layer and {name: layer}), name, **options)


def open_names(mdata, modalities=None):
    cells = open_cells(mdata, modalities=modalities)
    require_several(cells)
    return list(cells.names)


def matrix(mdata, name, layer=None):
    return open_cells(mdata).matrix(name, layer)


@pytest.fixture
def floats(rng):
    return lambda n, d: (rng.normal(size=(n, 3)) @ rng.normal(size=(3, d)) + 0.1 * rng.normal(size=(n, d))).astype("f4")


@pytest.fixture
def small(make_mdata, floats):
    return make_mdata(x=floats(30, 8), y=floats(30, 5))


def test_reading_prepares_every_modality(toy):
    problem = read(toy, n_comps=5)
    assert list(problem.modalities) == ["rna", "protein"]
    for name, view in problem.modalities.items():
        assert view.inputs.shape == (54, 5)
        assert view.inputs.dtype == np.float32
        assert view.train.all()
        assert view.values is None
        assert_array_equal(view.cells, toy[name].obs_names)
        assert_allclose(view.inputs, view.preparation.inputs(matrix(toy, name)))
    assert "X_jamie_input" not in toy["rna"].obsm


def test_what_was_read_is_frozen_and_the_data_untouched(toy):
    before = toy.copy()
    problem = read(toy)
    with pytest.raises(FrozenInstanceError):
        problem.known = {}
    with pytest.raises(FrozenInstanceError):
        problem.modalities["rna"].inputs = None
    assert abs(before["rna"].X - toy["rna"].X).nnz == 0
    assert_array_equal(before["protein"].X, toy["protein"].X)


def test_cells_of_the_same_name_are_pairs(toy):
    f = read(toy).known["rna", "protein"]
    expected = np.equal.outer(toy["rna"].obs_names.to_numpy(), toy["protein"].obs_names.to_numpy())
    assert_array_equal(f.toarray(), expected)
    assert f.nnz == 48


def test_written_pairs_are_all_used_in_both_directions_with_their_confidence(toy):
    rna, protein = toy["rna"].obs_names, toy["protein"].obs_names
    table = pd.DataFrame({"protein": protein[:20], "rna": rna[20:40], "confidence": np.linspace(0.1, 1, 20)})
    jm.pp.correspondence(toy, modalities=["protein", "rna"], pairs=table)
    expected = np.zeros((54, 54))
    expected[np.arange(20, 40), np.arange(20)] = table["confidence"]
    assert_allclose(read(toy).known["rna", "protein"].toarray(), expected, rtol=1e-6)
    assert_allclose(open_cells(toy).known("protein", "rna").toarray(), expected.T, rtol=1e-6)
    assert_allclose(read(toy[5:50].copy()).known["rna", "protein"].sum(), expected_sum(toy, table), rtol=1e-5)


def expected_sum(toy, table):
    names = toy.obs_names[5:50]
    return table[table["rna"].isin(names) & table["protein"].isin(names)]["confidence"].sum()


def test_rows_of_many_partners_are_capped(make_mdata, floats):
    mdata = make_mdata(cells={"y": [f"d{i}" for i in range(30)]}, x=floats(30, 8), y=floats(30, 5))
    table = pd.DataFrame({"x": ["c0", "c0", "c1"], "y": ["d0", "d1", "d2"], "confidence": [1, 1, 0.5]})
    jm.pp.correspondence(mdata, pairs=table)
    assert read(mdata).known["x", "y"].toarray()[:2, :3].tolist() == [[0.5, 0.5, 0], [0, 0, 0.5]]


def test_three_modalities_have_pairs_of_each_two(make_mdata, floats):
    cells = {"b": [f"c{i}" for i in range(5, 25)], "c": [f"c{i}" for i in range(15, 45)]}
    mdata = make_mdata(cells=cells, a=floats(20, 6), b=floats(20, 5), c=floats(30, 4))
    problem = read(mdata)
    assert {pair: f.nnz for pair, f in problem.known.items()} == {("a", "b"): 15, ("a", "c"): 5, ("b", "c"): 10}
    assert list(read(mdata, modalities=["c", "a"]).known) == [("c", "a")]


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, np.asarray])
def test_the_container_of_the_values_does_not_matter(make_mdata, rng, container):
    counts = rng.poisson(0.7, size=(50, 12)).astype(np.float32)
    other = rng.normal(size=(50, 4)).astype(np.float32)
    expected = read(make_mdata(rna=counts.astype(np.float64), y=other)).modalities["rna"].inputs
    found = read(make_mdata(rna=container(counts), y=other)).modalities["rna"].inputs
    sign = np.sign((found * expected).sum(0))
    assert_allclose(found * sign, expected, atol=2e-3)


@pytest.mark.parametrize("name", ["rna", "atac", "protein", "ephys"])
def test_held_out_cells_change_nothing_that_is_learned(make_mdata, rng, name):
    x, other = rng.poisson(0.6, size=(50, 12)).astype(np.float32), rng.normal(size=(50, 4)).astype(np.float32)
    fitted = []
    for factor in (1, 9):
        changed = x.copy()
        changed[40:] = changed[40:][::-1] * factor
        mdata = make_mdata(**{name: sparse.csr_matrix(changed), "y": other})
        mdata.obs["jamie_split"] = np.where(np.arange(50) < 40, "train", "test")
        fitted.append(prepare(mdata, name))
    one, two = fitted
    for key, value in one.to_dict().items():
        assert_array_equal(value, two.to_dict()[key])
    assert_array_equal(one.loadings, two.loadings)
    assert one.n_fitted == 40


def test_missing_values_are_kept_for_the_loss(make_mdata, floats, rng):
    x = floats(30, 6)
    x[rng.random(x.shape) < 0.1] = np.nan
    problem = read(make_mdata(x=x, y=floats(30, 4)))
    values = problem.modalities["x"].values
    assert_array_equal(np.isnan(values), np.isnan(x))
    assert_allclose(values, (x - np.nanmean(x, 0)) / np.nanstd(x, 0), rtol=1e-3, atol=1e-4)
    assert np.isfinite(problem.modalities["x"].inputs).all()
    assert problem.modalities["y"].values is None


def test_preparation_of_pp_is_used_as_it_is_stored(toy):
    jm.pp.prepare(toy, n_comps=4, kinds={"protein": "counts"})
    problem = read(toy, n_comps=7)
    for name, view in problem.modalities.items():
        assert_array_equal(view.inputs, toy[name].obsm["X_jamie_input"])
        assert_array_equal(view.inputs, view.preparation.inputs(matrix(toy, name)))
    assert problem.modalities["protein"].preparation.kind == "counts"


def test_preparation_of_another_state_of_the_data_is_refused(toy):
    jm.pp.prepare(toy)
    other_schema, fewer = toy.copy(), toy.copy()
    other_schema["rna"].uns["jamie_input"]["schema"] = 99
    with pytest.raises(ValueError, match=r"expected schema 1 in `mdata\['rna'\].uns\['jamie_input'\]`, found 99"):
        read(other_schema)
    fewer.mod["rna"] = toy["rna"][:, :10].copy()
    fewer.update()
    with pytest.raises(ValueError, match=r"for 10 features, found 40.*the data changed; call jm\.pp\.prepare"):
        read(fewer)
    jm.pp.split(toy)
    with pytest.raises(
        ValueError, match=r"fitted on the 4\d training cells of 'rna', found one fitted on 54.*the split changed"
    ):
        read(toy)


def test_preparation_that_saw_cells_which_are_now_held_out_is_refused(make_mdata, floats):
    mdata = make_mdata(x=floats(30, 8), y=floats(30, 5))
    jm.pp.split(mdata, rng=0)
    jm.pp.prepare(mdata)
    jm.pp.split(mdata, rng=1)
    with pytest.raises(ValueError, match="the split changed"):
        read(mdata)


def test_preparation_follows_features_that_were_put_in_another_order(small):
    jm.pp.prepare(small)
    expected = read(small).modalities["x"].preparation
    small.mod["x"] = small["x"][:, ::-1].copy()
    small.update()
    try:
        found = read(small).modalities["x"].preparation
    except ValueError as error:
        assert "jm.pp.prepare" in str(error)  # noqa: PT017
    else:
        assert_allclose(found.mean[::-1], expected.mean)


def test_cells_left_out_of_the_split_train(toy):
    assert _train(toy).all()
    jm.pp.split(toy)
    held_out = toy.obs_names[toy.obs["jamie_split"] == "test"]
    assert_array_equal(~_train(toy), toy["rna"].obs_names.isin(held_out))
    assert _train(toy, keys=Keys("other")).sum() == _train(toy).sum()
    toy.obs["jamie_split"] = np.where(toy.obs["jamie_split"] == "test", None, "train")
    with pytest.raises(ValueError, match=r"'train' or 'test' in .*found \d+ others.*call jm\.pp\.split\(mdata\) again"):
        _train(toy)


def _train(mdata, **options):
    return open_cells(mdata, **options).train("rna")


@pytest.mark.parametrize("place", [np.asarray, sparse.csr_matrix])
def test_values_that_are_no_measurement_are_refused(make_mdata, floats, place):
    x = floats(30, 8)
    x[3, 2] = np.inf
    with pytest.raises(
        ValueError, match=r"in `mdata\['x'\].X`, found 1 infinite, first in feature 'x2'; set them to NaN"
    ):
        matrix(make_mdata(x=place(x), y=x[:, 3:]), "x")
    x[:, 2] = np.nan
    with pytest.raises(ValueError, match=r"every feature of `mdata\['x'\].X`, found 1 with NaN only, first 'x2'; drop"):
        prepare(make_mdata(x=place(x), y=x[:, 3:]), "x")
    x[:, 2] = 1
    x[[4, 7]] = np.nan
    with pytest.raises(ValueError, match=r"every cell of `mdata\['x'\].X`, found 2 with NaN only, first 'c4'; drop"):
        matrix(make_mdata(x=place(x), y=floats(30, 4)), "x")


def test_layers_are_read_by_name(small):
    small["x"].layers["raw"] = sparse.csc_matrix(np.ones((30, 8)))
    found = matrix(small, "x", layer="raw")[:]
    assert (found.format, found.dtype, found.sum()) == ("csr", np.float32, 240)
    with pytest.raises(KeyError, match=r"layer 'rwa' in .*found \['raw'\]; did you mean 'raw'"):
        matrix(small, "x", layer="rwa")
    small["x"].X = None
    with pytest.raises(ValueError, match=r"values in .*found none.*layer={'x': 'raw'}"):
        matrix(small, "x")


def test_modalities_are_checked_once(small):
    assert open_names(small) == ["x", "y"]
    assert open_names(small, ["y", "x"]) == ["y", "x"]
    with pytest.raises(TypeError, match=r"expected a MuData, found AnnData.*mudata\.MuData"):
        open_names(small["x"])
    with pytest.raises(KeyError, match=r"`modality` to be one of .*x.*y.*found 'z'"):
        open_names(small, ["x", "z"])
    with pytest.raises(ValueError, match=r"at least two modalities, found 1: \['x'\]; the MuData has \['x', 'y'\]"):
        open_names(small, ["x"])


@pytest.mark.filterwarnings("ignore:(Observation|Variable) names are not unique")
@pytest.mark.parametrize("axis", ["obs", "var"])
def test_repeated_names_are_refused_with_the_remedy(small, axis):
    names = getattr(small["x"], f"{axis}_names").to_list()
    setattr(small["x"], f"{axis}_names", [names[1], *names[1:]])
    message = (
        rf"`mdata\['x'\].{axis}_names`, found 1 repeated, first '.1'; call mdata\['x'\].{axis}_names_make_unique\(\)"
    )
    with pytest.raises(ValueError, match=message):
        open_names(small)


def test_modalities_without_a_known_pair_are_refused(make_mdata, floats):
    mdata = make_mdata(cells={"y": [f"d{i}" for i in range(30)]}, x=floats(30, 8), y=floats(30, 5))
    message = (
        r"cells of `mdata\['x'\]` with a partner in another modality, found none.*"
        r"call jm\.pp\.correspondence\(mdata, pairs=\.\.\.\).*, or jm\.pp\.infer_correspondence\(mdata\) if you do not"
    )
    with pytest.raises(ValueError, match=message):
        read(mdata)


def test_views_are_not_written_to(small):
    assert writable(small, copy=False) is small
    assert writable(small[:5], copy=True).n_obs == 5
    with pytest.raises(ValueError, match=r"found a view of another; call mdata = mdata\.copy\(\) first"):
        writable(small[:5], copy=False)


def test_preparing_refuses_what_the_kind_cannot_be(small):
    with pytest.raises(ValueError, match=r"no negative value in `mdata\['x'\]`, of kind 'counts', found \d+, first in"):
        prepare(small, "x", kind="counts")
    with pytest.raises(ValueError, match=r"did you mean .*counts"):
        prepare(small, "x", kind="count")
    for n_comps in (0, 513):
        with pytest.raises(ValueError, match=f"expected 1 to 512 components, found n_comps={n_comps}"):
            prepare(small, "x", n_comps=n_comps)


def test_regions_with_missing_values_are_refused_with_what_may_be_done(make_mdata, rng):
    opened = rng.poisson(0.3, size=(30, 8)).astype(np.float32)
    opened[2, 3] = np.nan
    mdata = make_mdata(atac=opened, y=opened[:, :3])
    for kind in ("accessibility", None):
        with pytest.raises(
            ValueError, match=r"no NaN in `mdata\['atac'\].X`.*found it in 1 of 8 regions.*isnan"
        ) as error:
            prepare(mdata, "atac", kind=kind)
        assert "to 0" not in str(error.value)
    adata = mdata["atac"]
    assert adata[:, ~np.isnan(adata.X).any(axis=0)].n_vars == 7


@pytest.mark.parametrize("kind", ["counts", "protein"])
def test_missing_counts_are_kept_for_the_loss(make_mdata, floats, rng, kind):
    x = rng.poisson(4, (30, 8)).astype(np.float32)
    x[15:, 5:] = np.nan
    mdata = make_mdata(**{"rna" if kind == "counts" else "adt": x, "y": floats(30, 4)})
    view = next(iter(read(mdata).modalities.values()))
    assert view.preparation.kind == kind
    assert_array_equal(np.isnan(view.values), np.isnan(x))
    assert_allclose(np.nanmean(view.values, 0), 0, atol=1e-4)
    assert_allclose(np.nanstd(view.values, 0), 1, atol=1e-3)
    assert np.isfinite(view.inputs).all()


def test_a_modality_in_which_nothing_varies_is_refused_in_words(make_mdata, floats):
    with pytest.raises(ValueError, match=r"mdata\['x'\]"):
        prepare(make_mdata(x=np.full((30, 8), 3, np.float32), y=floats(30, 4)), "x")


def test_preparation_can_be_of_a_layer(small, rng):
    small["x"].layers["raw"] = rng.poisson(3, size=(30, 8))
    preparation = prepare(small, "x", kind="counts", layer="raw")
    assert isinstance(preparation, Preparation)
    assert (preparation.layer, preparation.kind) == ("raw", "counts")
    assert isinstance(small["x"], ad.AnnData)


# what pp.prepare wrote, and what changed since


def refused(function):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole text is compared
        function()
    return error.value.args[0]


def test_what_was_prepared_of_other_values_or_layers_is_told(small):
    small["x"].layers["raw"] = small["x"].X.copy()
    jm.pp.prepare(small)
    assert refused(lambda: data.read(open_cells(small, layer={"x": "raw"}))) == (
        "expected the layer that 'x' was prepared from, 'X', found layer='raw'; "
        "call jm.pp.prepare(mdata, layer={'x': 'raw'}) again"
    )
    small["x"].X = small["x"].X * 2
    assert refused(lambda: read(small)) == (
        "expected `mdata['x']` as it was prepared, found other values; call jm.pp.prepare(mdata) again"
    )
    jm.pp.prepare(small, layer={"x": "raw"})
    assert read(small).modalities["x"].preparation.layer == "raw"
    assert data.read(open_cells(small, layer={"x": "raw"})).modalities["x"].preparation.layer == "raw"


def test_what_was_prepared_in_other_batches_is_told(small):
    small.obs["donor"] = np.resize(["p", "q"], small.n_obs)
    small.obs["age"] = np.arange(small.n_obs, dtype=float)
    by = {
        "none": EffectColumns(),
        "donor": EffectColumns.of("donor", ()),
        "both": EffectColumns.of("donor", ["age"]),
    }
    expected = "expected a preparation of 'x' without the effects of {}, found one {}; call jm.pp.prepare(mdata, {})"
    jm.pp.prepare(small)
    assert refused(lambda: read(small, columns=by["donor"])) == expected.format(
        "'donor'", "with all of them", "batch_key='donor'"
    )
    jm.pp.prepare(small, batch_key="donor")
    assert refused(lambda: read(small, columns=by["both"])) == expected.format(
        "'donor', 'age'", "without those of 'donor'", "batch_key='donor', covariates=['age']"
    )
    for columns in ("none", "donor"):
        assert read(small, columns=by[columns]).modalities["x"].preparation.effects.batches == ("p", "q")
    small.obs["donor"] = np.where(np.arange(small.n_obs) < 12, "p", "q")
    assert refused(lambda: read(small)) == (
        "expected a preparation fitted on the training cells and features of 'x' as they are now, found another in "
        "`mdata['x'].uns['jamie_input']`: names, the split or 'donor' changed since; "
        "call jm.pp.prepare(mdata, batch_key='donor') again"
    )


def test_a_preparation_that_was_fitted_on_other_names_is_told(small):
    jm.pp.prepare(small)
    stored = small["x"].uns["jamie_input"]
    for key in sorted(set(stored) - {"schema", "scale"}):
        part = {name: value for name, value in stored.items() if name != key}
        small["x"].uns["jamie_input"] = part
        assert refused(lambda: read(small)).startswith(
            f"expected a whole preparation in `mdata['x'].uns['jamie_input']`, found none of ['{key}'"
        )
    small["x"].uns["jamie_input"] = stored
    small["x"].var_names = [f"new{i}" for i in range(8)]
    assert refused(lambda: read(MuData(dict(small.mod)))) == (
        "expected a preparation fitted on the training cells and features of 'x' as they are now, found another in "
        "`mdata['x'].uns['jamie_input']`: names or the split changed since; call jm.pp.prepare(mdata) again"
    )


def test_one_batch_in_each_modality_is_told_with_its_name(small):
    small.obs["donor"] = "p"
    assert refused(lambda: read(small, columns=EffectColumns.of("donor", ()))) == (
        "expected two batches or more among the training cells of a modality, found 'donor' = ['p']; "
        "leave out `batch_key`"
    )
