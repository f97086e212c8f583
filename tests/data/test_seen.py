"""A model knows its cells again: never one it has seen as unseen, and held-out ones as held out."""

from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.data import HELD_OUT, NEW, TRAIN, VALIDATION, SeenCells, _seen, unseen_pairs
from jamie.data._seen import feature_codes, name_digests, value_digests

N, D = 200, 30


@pytest.fixture
def x(rng):
    return rng.poisson(0.7, (N, D)).astype(np.float32)


@pytest.fixture
def codes():
    return feature_codes(np.array([f"g{j}" for j in range(D)]))


@pytest.fixture
def names():
    return pd.Index([f"c{i}" for i in range(N)])


# digests


def doubled(x):
    """Each entry in two halves."""
    x = sparse.csr_matrix(x)
    twice = sparse.csr_matrix(x.shape, dtype=np.float32)
    twice.data, twice.indices, twice.indptr = np.repeat(x.data, 2) / 2, np.repeat(x.indices, 2), x.indptr * 2
    twice.sum_duplicates()
    return twice


def with_zeros(x):
    full = sparse.csr_matrix(np.ones_like(x))
    full.data[:] = x.ravel()
    return full


STORED = {
    "csr": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "explicit zeros": with_zeros,
    "summed halves": doubled,
    "Fortran order": np.asfortranarray,
    "negative strides": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "negative zeros": lambda x: np.where(x == 0, np.float32(-0.0), x),
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "int64": lambda x: x.astype(np.int64),
    "uint8": lambda x: x.astype(np.uint8),
}


@pytest.mark.parametrize("stored", STORED)
def test_digests_are_of_values_however_they_are_stored(x, codes, stored):
    assert_array_equal(value_digests(STORED[stored](x), codes), value_digests(x, codes))


def test_digests_do_not_depend_on_the_order_of_features_nor_on_those_that_are_zero(x, codes, rng):
    order = rng.permutation(D)
    assert_array_equal(value_digests(x[:, order], codes[order]), value_digests(x, codes))
    x[:, :3] = 0
    assert_array_equal(value_digests(x[:, 3:], codes[3:]), value_digests(x, codes))


@pytest.mark.parametrize("change", ["value", "feature", "swapped features", "sign", "missing", "zero"])
def test_another_value_is_another_digest(x, codes, change):
    x = x + 1
    changed = x.copy()
    if change == "swapped features":
        changed[:, [0, 1]] = changed[:, [1, 0]]
        differ = x[:, 0] != x[:, 1]
    else:
        differ = np.ones(N, dtype=bool)
        column = changed[:, 5]
        changed[:, 5] = {
            "value": column + 1,
            "feature": np.roll(column, 1) + 7,
            "sign": -column,
            "missing": np.full(N, np.nan),
            "zero": np.zeros(N),
        }[change]
    assert_array_equal(value_digests(changed, codes) != value_digests(x, codes), differ)


@pytest.mark.parametrize("draw", ["binary", "counts", "real", "open"])
def test_digests_are_as_many_as_there_are_different_cells(rng, draw):
    shape = 3_000, 27
    x = {
        "binary": rng.random(shape) < 0.5,
        "counts": rng.poisson(5, shape),
        "real": rng.normal(size=shape),
        "open": rng.random(shape) < 0.1,
    }[draw].astype(np.float32)
    different = len(np.unique(x, axis=0))
    found = len(np.unique(value_digests(x, feature_codes(np.array([f"p{j}" for j in range(27)])))))
    assert different - 2 <= found <= different


def test_all_missing_values_are_one_and_what_was_computed_again_is_the_same(rng, codes):
    x = rng.normal(size=(2_000, D)).astype(np.float32)
    again = (x * (1 + 2e-7 * rng.choice([-1, 1], x.shape))).astype(np.float32)
    assert (again != x).any(axis=1).mean() > 0.9
    assert (value_digests(again, codes) == value_digests(x, codes)).mean() > 0.99
    x[:, 3] = np.nan
    other = x.copy()
    other[:, 3] = np.uint32(0xFFC00001).view(np.float32)
    assert_array_equal(value_digests(other, codes), value_digests(x, codes))


def test_digests_are_the_same_in_every_session_and_for_all_kinds_of_text():
    """They are kept in model files."""
    assert name_digests(pd.Index(["cell1", "é"])).tolist() == [257418251, 3936888913]
    assert name_digests(pd.Index(["cell1", "é"], dtype="string")).tolist() == [257418251, 3936888913]
    x = np.array([[1, 0, 2.5], [0, 0, 0], [np.nan, -3, 1e-9]], dtype=np.float32)
    assert value_digests(x, feature_codes(np.array(["a", "b", "c"]))).tolist() == [2237604987, 0, 334322396]


# roles


def partners_of(names):
    """Every third cell had a partner in the second of three modalities, every fifth in the third."""
    number = np.arange(len(names))
    return np.column_stack([np.zeros(len(names)), number % 3 == 0, number % 5 == 0])


def roles(cells, names, values, **how):
    return cells.roles_at(cells.places(names, values, **how))


@pytest.mark.parametrize("renamed", [False, True])
def test_a_cell_that_is_known_again_has_the_partners_that_it_had(x, codes, names, seen, rng, renamed):
    cells, _ = seen
    rows = rng.permutation(N)
    new = rng.poisson(3, (7, x.shape[1])).astype(np.float32) + 100
    asked = pd.Index([*(("other-" if renamed else "") + names[rows]), *(f"new{i}" for i in range(7))])
    places = cells.places(asked, value_digests(np.vstack([x[rows], new]), codes))
    assert_array_equal(places < 0, np.arange(N + 7) >= N)
    for i in range(3):
        assert_array_equal(cells.had_partner(places, i), np.append(partners_of(names)[rows, i] > 0, np.zeros(7, bool)))
    more = cells.and_learned(asked[-7:], value_digests(new, codes), np.ones((7, 3)))
    assert more.had_partner(more.places(asked[-7:], value_digests(new, codes)), 2).all()
    assert_array_equal(
        roles(more, asked[:N], value_digests(x[rows], codes)), roles(cells, asked[:N], value_digests(x[rows], codes))
    )


@pytest.fixture
def seen(x, codes, names):
    role = np.repeat([HELD_OUT, TRAIN, VALIDATION], [50, 100, 50])
    return SeenCells.of(names, value_digests(x, codes), role, partners_of(names)), role


def test_cells_are_known_by_name_and_values_in_any_order(x, codes, names, seen, rng):
    cells, role = seen
    for rows in (np.arange(N), rng.permutation(N), np.arange(60, 90), np.array([199, 0])):
        assert_array_equal(roles(cells, names[rows], value_digests(x[rows], codes)), role[rows])
    again = SeenCells.from_counts(cells.names, cells.values, cells.counts, cells.partners)
    assert_array_equal(roles(again, names, value_digests(x, codes)), role)
    assert cells.counts == (100, 50, 50)


def test_renamed_cells_are_known_by_their_values(x, codes, names, seen, rng):
    cells, role = seen
    rows = rng.permutation(N)[:120]
    assert_array_equal(roles(cells, "s1_" + names[rows], value_digests(x[rows], codes)), role[rows])
    shuffled = rng.permutation(N)  # the names of other cells
    assert_array_equal(roles(cells, names, value_digests(x[shuffled], codes)), role[shuffled])


def test_copies_under_another_name_are_known_beside_the_original(x, codes, names, seen):
    cells, role = seen
    both, values = names.append("copy of " + names), value_digests(np.vstack([x, x]), codes)
    assert_array_equal(roles(cells, both, values), np.tile(role, 2))


def test_other_cells_of_the_same_names_are_new(x, codes, names, seen, rng):
    other = rng.poisson(0.7, x.shape).astype(np.float32)
    assert (roles(seen[0], names, value_digests(other, codes)) == NEW).all()


def test_a_few_names_that_coincide_do_not_make_cells_of_another_set_seen(x, codes, names, seen, rng):
    """As 11 barcodes of two sets of 10x do."""
    cells, _ = seen
    other = rng.poisson(0.7, x.shape).astype(np.float32)
    mixed = names[:11].append("t" + names[11:])
    assert (roles(cells, mixed, value_digests(other, codes)) == NEW).all()


def test_a_cell_whose_values_were_changed_is_known_by_name_among_cells_that_were_not(x, codes, names, seen):
    cells, role = seen
    x[[3, 70, 180], 4] += 1
    assert_array_equal(roles(cells, names, value_digests(x, codes)), role)


def test_where_features_are_missing_names_tell(x, codes, names, seen):
    cells, role = seen
    values = value_digests(x[:, 5:], codes[5:])
    assert_array_equal(roles(cells, names, values, comparable=False), role)
    assert (roles(cells, "t" + names, values, comparable=False)[x[:, :5].any(axis=1)] == NEW).all()


def few(rng, n=177, d=6):
    """Binary methylation: many cells have the values of another."""
    x = (rng.random((n, d)) < 0.5).astype(np.float32)
    return x, feature_codes(np.array([f"m{j}" for j in range(d)])), pd.Index([f"c{i}" for i in range(n)])


def test_held_out_cells_with_the_values_of_training_cells_stay_held_out(rng):
    x, codes, names = few(rng)
    role = rng.choice([TRAIN, VALIDATION, HELD_OUT], len(x))
    cells = SeenCells.of(names, value_digests(x, codes), role, partners_of(names))
    assert_array_equal(roles(cells, names, value_digests(x, codes)), role)
    rows = np.flatnonzero(role == HELD_OUT)
    with_all = names.append(pd.Index([f"n{i}" for i in range(len(rows))]))
    found = roles(cells, with_all, value_digests(np.vstack([x, x[rows]]), codes))
    assert_array_equal(found[: len(x)], role)
    assert (found[len(x) :] == NEW).all()  # new cells that look like others


def test_no_seen_cell_is_called_unseen_when_all_are_renamed_and_many_alike(rng):
    x, codes, names = few(rng)
    role = rng.choice([TRAIN, VALIDATION, HELD_OUT], len(x))
    found = roles(
        SeenCells.of(names, value_digests(x, codes), role, partners_of(names)), "s" + names, value_digests(x, codes)
    )
    assert (found[role < HELD_OUT] < HELD_OUT).all()


def test_where_half_are_renamed_and_many_alike_each_is_found_at_a_cell_of_its_values(rng):
    x, codes, names = few(rng)
    values, keeps = value_digests(x, codes), np.arange(len(x)) % 2 == 0
    cells = SeenCells.of(names, values, rng.choice([TRAIN, VALIDATION, HELD_OUT], len(x)), partners_of(names))
    asked = names.where(keeps, "s" + names)
    places = cells.places(asked, values)
    assert_array_equal(cells.values[places], values)
    assert_array_equal(cells.names[places] == name_digests(asked), keeps)
    assert not set(places[keeps]) & set(places[~keeps])  # whom a cell of its name is, nobody else can be


@pytest.mark.parametrize("n_empty", [1, 10])
def test_cells_of_nothing_but_zeros_are_told_by_their_names(codes, names, x, n_empty):
    x[:n_empty] = 0
    role = np.where(np.arange(N) % 2, TRAIN, HELD_OUT)
    cells = SeenCells.of(names, value_digests(x, codes), role, partners_of(names))
    assert_array_equal(roles(cells, names, value_digests(x, codes)), role)
    one_more = names.append(pd.Index(["another"]))
    found = roles(cells, one_more, value_digests(np.vstack([x, np.zeros((1, D), np.float32)]), codes))
    assert_array_equal(found, [*role, NEW])


def test_no_cells_seen_and_none_asked(codes, names, x):
    nothing = SeenCells.of(names[:0], np.empty(0, np.uint32), np.empty(0, np.uint8), partners_of(names[:0]))
    assert (roles(nothing, names, value_digests(x, codes)) == NEW).all()
    assert nothing.counts == (0, 0, 0)
    full = SeenCells.of(names, value_digests(x, codes), np.zeros(N, np.uint8), partners_of(names))
    assert roles(full, names[:0], np.empty(0, np.uint32)).shape == (0,)


def test_eight_bytes_a_cell_and_hardly_any_new_cell_is_taken_for_a_seen_one(rng):
    n = 300_000
    names = pd.Index(np.arange(n).astype(str))
    cells = SeenCells.of(names, rng.integers(2**32, size=n, dtype=np.uint32), np.zeros(n, np.uint8), partners_of(names))
    assert cells.names.nbytes + cells.values.nbytes == 8 * n
    found = roles(cells, "t" + names, rng.integers(2**32, size=n, dtype=np.uint32))
    assert (found != NEW).mean() < 2 * n / 2**32 + 5e-5


# a model


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A model of 160 of 200 cells, its data, and other cells."""
    mdata = jm.datasets.toy(n_cells=200)
    mdata, new = mdata[np.arange(200) % 5 > 0].copy(), mdata[np.arange(200) % 5 == 0].copy()
    jm.pp.split(mdata)
    model = jm.tl.train(mdata, max_steps=5)
    path = tmp_path_factory.mktemp("seen") / "x.jamie"
    model.save(path)
    cells = model.open(mdata)
    truth = {name: pd.Series(cells.role(name), index=cells.cells(name)) for name in cells.names}
    assert all(set(np.unique(role)) == {TRAIN, VALIDATION, HELD_OUT} for role in truth.values())
    for name in mdata.mod:
        is_test = (mdata.obs["jamie_split"] == "test").reindex(mdata[name].obs_names)
        assert_array_equal(truth[name] == HELD_OUT, is_test)
    return mdata, new, jm.JAMIE.load(path), truth


def rebuilt(mdata, change):
    return MuData({name: change(adata.copy()) for name, adata in mdata.mod.items()})


def renamed(adata):
    adata.obs_names = "s1_" + adata.obs_names
    return adata


def prefixed_and_updated(mdata):
    mdata = mdata.copy()
    mdata.obs_names = "s1_" + mdata.obs_names
    mdata.update()
    return mdata


def as_nullable(adata):
    adata.obs_names, adata.var_names = (pd.Index(n, dtype="string") for n in (adata.obs_names, adata.var_names))
    return adata


def stored(adata, as_):
    return ad.AnnData(as_(adata.X), obs=adata.obs, var=adata.var)


def dense(x):
    return x.toarray() if sparse.issparse(x) else x


SAME = {
    "as it is": lambda m: m.copy(),
    "prefix, updated": prefixed_and_updated,
    "prefix, made anew": lambda m: rebuilt(m, renamed),
    "subset": lambda m: m[30:90].copy(),
    "reversed": lambda m: m[::-1].copy(),
    "reversed modalities": lambda m: rebuilt(m, lambda a: a[::-1]),
    "features reversed": lambda m: rebuilt(m, lambda a: a[:, ::-1]),
    "features dropped": lambda m: rebuilt(m, lambda a: a[:, : int(np.ceil(0.85 * a.n_vars))]),
    "float64": lambda m: rebuilt(m, lambda a: stored(a, lambda x: x.astype(np.float64))),
    "int64 CSC": lambda m: rebuilt(m, lambda a: stored(a, lambda x: sparse.csc_matrix(dense(x).astype(np.int64)))),
    "uint16 dense": lambda m: rebuilt(m, lambda a: stored(a, lambda x: dense(x).astype(np.uint16))),
    "CSR array": lambda m: rebuilt(m, lambda a: stored(a, lambda x: sparse.csr_array(dense(x)))),
    "nullable names": lambda m: rebuilt(m, as_nullable),
    "one modality": lambda m: MuData({"rna": m["rna"].copy()}),
    "modalities exchanged": lambda m: MuData({name: m[name].copy() for name in reversed(list(m.mod))}),
}


@pytest.mark.filterwarnings("ignore:obs_names seem to have been renamed")
@pytest.mark.parametrize("how", SAME)
def test_a_loaded_model_knows_its_cells(learned, how):
    mdata, _, model, truth = learned
    cells = model.open(SAME[how](mdata))
    for name in cells.names:
        expected = truth[name].loc[cells.cells(name).str.removeprefix("s1_")]
        assert_array_equal(cells.role(name), expected)


def added(adata, d=7):
    var = pd.DataFrame(index=[f"more of {adata.var_names[0]}: {j}" for j in range(d)])
    values = np.hstack([np.ones((adata.n_obs, d), np.float32), dense(adata.X)])
    return ad.AnnData(values, obs=adata.obs, var=pd.concat([var, adata.var[[]]]))


def test_features_that_the_model_does_not_know_change_nothing(learned):
    mdata, _, model, truth = learned
    assert added(mdata["rna"]).n_vars > mdata["rna"].n_vars
    cells = model.open(rebuilt(mdata, added))
    for name in cells.names:
        assert_array_equal(cells.role(name), truth[name])


def test_the_values_may_lie_in_a_layer_in_dask_or_on_disk(learned, tmp_path):
    da = pytest.importorskip("dask.array")
    mdata, _, model, truth = learned

    def moved(adata):
        adata.layers["counts"], adata.X = adata.X.copy(), np.log1p(dense(adata.X))
        return adata

    def lazily(adata):
        return stored(adata, lambda x: da.from_array(dense(x), chunks=(40, 5)))

    mdata.write(tmp_path / "x.h5mu")
    for cells in (
        model.open(rebuilt(mdata, moved), layer="counts"),
        model.open(rebuilt(mdata, moved), layer={"rna": "counts", "protein": "counts"}),
        model.open(rebuilt(mdata, lazily)),
        model.open(md.read_h5mu(tmp_path / "x.h5mu", backed="r")),
    ):
        for name in cells.names:
            assert_array_equal(cells.role(name), truth[name])


def test_cells_that_came_are_new_and_those_there_are_what_they_were(learned):
    mdata, new, model, truth = learned
    both = MuData({name: ad.concat([mdata[name], new[name]]) for name in mdata.mod})
    cells = model.open(both)
    for name in cells.names:
        expected = truth[name].reindex(cells.cells(name)).fillna(NEW)
        assert_array_equal(cells.role(name), expected)
    assert cells.pairs("rna", "protein").cells == "held-out and new"
    only = model.open(new)
    assert all((only.role(name) == NEW).all() for name in only.names)
    assert only.pairs("rna", "protein").cells == "new"


def test_other_cells_with_the_names_of_training_cells_are_new(learned):
    mdata, _, model, _ = learned
    other = jm.datasets.toy(n_cells=200, rng=5)
    cells = model.open(other)
    assert len(cells.cells("rna").intersection(mdata["rna"].obs_names)) > 100
    assert all((cells.role(name) == NEW).all() for name in cells.names)


def test_a_split_that_is_drawn_again_and_another_model_change_nothing(learned):
    mdata, _, model, truth = learned
    mdata = mdata.copy()
    jm.pp.split(mdata, rng=7)
    second = jm.tl.train(mdata, max_steps=3, key_added="second")
    jm.tl.embed(mdata, model)
    for name in mdata.mod:
        assert_array_equal(mdata[name].obs["jamie_role"].cat.codes, truth[name])
        is_test = (mdata.obs["jamie_split"] == "test").reindex(mdata[name].obs_names).to_numpy()
        assert_array_equal(mdata[name].obs["second_role"] == "held-out", is_test)
    table, other = (
        jm.tl.evaluate(mdata, m, baselines=[], key_added=k) for m, k in ((model, "jamie"), (second, "second"))
    )
    pairs = truth["rna"].index.intersection(truth["protein"].index)
    assert set(table["cells"]) == set(other["cells"]) == {"held-out"}
    assert table["n_cells"][0] == (truth["rna"][pairs] == HELD_OUT).sum()
    del mdata.obs["jamie_split"]
    assert set(jm.tl.evaluate(mdata, model, baselines=[])["cells"]) == {"held-out"}


def test_pairs_are_scored_only_where_neither_cell_was_seen(learned):
    mdata, _, model, truth = learned
    cells = model.open(mdata)
    pairs = cells.pairs("rna", "protein")
    for rows, name in zip(pairs.test, ("rna", "protein"), strict=True):
        assert (truth[name].iloc[rows] == HELD_OUT).all()
    for rows, name in zip(pairs.train, ("rna", "protein"), strict=True):
        assert (truth[name].iloc[rows] < HELD_OUT).all()
    train = mdata[(mdata.obs["jamie_split"] == "train").to_numpy()].copy()
    assert model.open(train).pairs("rna", "protein").cells == "in-sample"


def test_a_pair_is_unseen_only_if_the_model_saw_neither_cell():
    role_a = np.array([TRAIN, VALIDATION, HELD_OUT, HELD_OUT, NEW, TRAIN, NEW], dtype=np.uint8)
    role_b = np.array([TRAIN, HELD_OUT, TRAIN, HELD_OUT, HELD_OUT, NEW, NEW], dtype=np.uint8)
    unseen, which = unseen_pairs(role_a, role_b)
    assert list(np.flatnonzero(unseen)) == [3, 4, 6]
    assert which == "held-out and new"
    assert unseen_pairs(role_a[[3, 0]], role_b[[3, 0]])[1] == "held-out"
    assert unseen_pairs(role_a[[4, 0]], role_b[[4, 0]])[1] == "new"
    unseen, which = unseen_pairs(role_a[:3], role_b[:3])
    assert unseen.all()
    assert which == "in-sample"


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("at_once", [1, 50, 2**18])
def test_cells_are_looked_at_once_a_few_at_a_time(x, form, at_once, monkeypatch):
    monkeypatch.setattr(_seen, "AT_ONCE", at_once)
    x = form(x)
    pieces = list(_seen._pieces(x))
    assert_array_equal(np.concatenate([np.arange(N)[rows] for rows in pieces]), np.arange(N))
    size = x.nnz if sparse.issparse(x) else x.size
    assert max(rows.stop - rows.start for rows in pieces) <= max(1, at_once * N / size)
