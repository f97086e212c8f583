"""What a model may be given: values of the sort it was trained on, and no false alarms."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose
from scipy import sparse

import jamie as jm
from jamie.data import open_cells
from jamie.data._accept import (
    BlockCheck,
    Expected,
    check_block,
    layers_of_counts,
    n_fractions,
    remedy,
    require_values,
)

N = 150


def simulated(seed=10, n=N):
    """Counts of genes and proteins, regions and four-digit measurements of cells of three types."""
    rng = np.random.default_rng(seed)
    latent = 1.5 * np.eye(3)[rng.integers(3, size=n)] + 0.4 * rng.normal(size=(n, 3))
    fixed = np.random.default_rng(0)  # the features are the same, whoever the cells are
    rates = {
        "rna": np.exp(0.5 * latent @ fixed.normal(size=(3, 80)) + fixed.normal(size=80)),
        "protein": np.exp(0.4 * latent @ fixed.normal(size=(3, 12)) + 3),
        "atac": 0.06 * np.exp(0.4 * latent @ fixed.normal(size=(3, 150))),
    }
    depth = np.exp(0.3 * rng.normal(size=(n, 1)))
    x = {name: rng.poisson(rate * depth).astype(np.float32) for name, rate in rates.items()}
    units = np.array([-60, 80, 0.5, 2, 0.01, -10, 5, 300, 1, 40])
    spread = fixed.normal(size=(3, 10)) * np.abs(units) / 10
    x["ephys"] = (units + latent @ spread + 0.05 * units * rng.normal(size=(n, 10))).astype(np.float32)
    x["lognorm"] = np.log1p(x["rna"] / x["rna"].sum(1, keepdims=True).clip(1) * 1e4)
    return x


X = simulated()


def mdata_of(replaced=None, layers=None, x=X):
    names, modalities = [f"c{i}" for i in range(len(x["rna"]))], {}
    for name in ("rna", "protein", "atac", "ephys", "lognorm"):
        values = (replaced or {}).get(name, x[name])
        var = pd.DataFrame(index=[f"{name}{j}" for j in range(values.shape[1])])
        modalities[name] = ad.AnnData(values, obs=pd.DataFrame(index=names), var=var, layers=(layers or {}).get(name))
    return MuData(modalities)


@pytest.fixture(scope="module")
def model():
    mdata = mdata_of()
    mdata.obs["jamie_split"] = np.where(np.arange(N) % 4 == 0, "test", "train")
    model = jm.tl.train(mdata, max_steps=3)
    kinds = {name: p.kind for name, p in model.preparations_.items()}
    continuous = {"ephys": "continuous", "lognorm": "continuous"}
    assert kinds == {"rna": "counts", "protein": "protein", "atac": "accessibility", **continuous}
    return model


def z(x):
    return (x - x.mean(0)) / (x.std(0) + 1e-6)


def per_cell(x, total):
    return x / x.sum(1, keepdims=True).clip(1) * total


def tf_idf(x):
    return np.log1p(per_cell(x > 0, 1e4)) * np.log(1 + len(x) / (1 + (x > 0).sum(0)))


REFUSED = {
    "log-normalised": lambda x: np.log1p(per_cell(x, 1e4)),
    "log1p": np.log1p,
    "per million": lambda x: per_cell(x, 1e6),
    "square roots": lambda x: np.sqrt(2 * x + 0.5),
    "scaled": lambda x: z(np.log1p(x)),
    "centred log-ratio": lambda x: np.log1p(x) - np.log1p(x).mean(1, keepdims=True),
    "ratio to the geometric mean": lambda x: np.log1p(x / np.exp(np.log1p(x).mean(1, keepdims=True))),
    "dsb": lambda x: z(np.log1p(x)) + 0.5,
    "Pearson residuals": lambda x: (x - x.mean(0)) / np.sqrt(x.mean(0) + 1e-3),
    "negated": lambda x: -x,
    "one negative": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 77, -1, x),
    "one fraction": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 77, 0.5, x),
    "zeros": np.zeros_like,
    "TF-IDF": tf_idf,
    "TF-IDF of length 1": lambda x: tf_idf(x) / np.linalg.norm(tf_idf(x), axis=1, keepdims=True).clip(1e-9),
}
VERBS = {
    "embed": lambda mdata, model, name: jm.tl.embed(mdata, model),
    "impute": lambda mdata, model, name: jm.tl.impute(mdata, model, source=name, target="ephys"),
    "reconstruct": lambda mdata, model, name: jm.tl.reconstruct(mdata, model, modality=name),
    "evaluate": lambda mdata, model, name: jm.tl.evaluate(mdata, model, baselines=[]),
    "array": lambda mdata, model, name: model.embed(mdata),
}


@pytest.mark.parametrize("name", ["rna", "protein", "atac"])
@pytest.mark.parametrize("given", REFUSED)
def test_what_cannot_be_counts_is_refused_with_the_layer_that_would_do(model, name, given):
    values = REFUSED[given](X[name]).astype(np.float32)
    for form in (np.asarray, sparse.csr_matrix, sparse.csc_array):
        mdata = mdata_of({name: form(values)}, {name: {"z": values - 9, "counts": X[name]}})
        with pytest.raises(ValueError, match="expected counts in") as error:
            model.embed(mdata)
        assert f"`mdata[{name!r}].X`" in str(error.value)
        assert f"`layers['counts']` holds whole numbers: pass layer={{{name!r}: 'counts'}}" in str(error.value)
    model.embed(mdata, layer={name: "counts"})


@pytest.mark.parametrize("verb", VERBS)
def test_all_verbs_refuse_alike_and_write_nothing(model, verb):
    mdata = mdata_of({"rna": np.log1p(X["rna"])})
    before = {name: (list(a.obsm), list(a.layers), list(a.obs)) for name, a in mdata.mod.items()}
    with pytest.raises(ValueError, match=r"that are not whole.*give the model the values that it was trained on"):
        VERBS[verb](mdata, model, "rna")
    assert {name: (list(a.obsm), list(a.layers), list(a.obs)) for name, a in mdata.mod.items()} == before


@pytest.mark.parametrize("given", ["log-normalised", "scaled", "zeros"])
def test_comparison_refuses_what_the_model_does(model, given):
    mdata = mdata_of({"rna": REFUSED[given](X["rna"]).astype(np.float32)}, {"rna": {"counts": X["rna"]}})
    jm.tl.impute(mdata, model, source="protein", target="rna")
    with pytest.raises(ValueError, match=r"expected counts in `mdata\['rna'\].X`.*pass layer={'rna': 'counts'}"):
        jm.get.comparison(mdata, source="protein", target="rna")
    right = jm.get.comparison(mdata, source="protein", target="rna", layer={"rna": "counts"})
    same = mdata_of()
    jm.tl.impute(same, model, source="protein", target="rna")
    assert_allclose(right.measured, jm.get.comparison(same, source="protein", target="rna").measured)


def test_a_layer_of_the_matrix_itself_is_named_so(model):
    mdata = mdata_of(layers={"rna": {"norm": np.log1p(X["rna"])}})
    with pytest.raises(ValueError, match=r"`mdata\['rna'\].layers\['norm'\]`.*`.X` holds whole.*layer={'rna': 'X'}"):
        model.embed(mdata, layer={"rna": "norm"})


WARNED = {
    "rounded per million": ("rna", lambda x: np.round(per_cell(x, 1e6)), "another depth or normalisation"),
    "a hundred times deeper": ("protein", lambda x: x * 100, "another depth or normalisation"),
    "a hundredth": ("rna", lambda x: np.floor(x * (x > np.quantile(x, 0.97))), "another depth|no counts at all"),
    "other genes": (
        "rna",
        lambda x: np.sort(x, axis=1) * 0 + x[:, np.argsort(x.mean(0))[::-1][_rank(x)]],
        "correlation",
    ),
    "mostly open": ("atac", lambda x: np.ones_like(x), "open regions"),
    "gene activity": ("atac", lambda x: x @ np.ones((150, 150), np.float32), "open regions"),
    "ten cells without counts": ("rna", lambda x: x * (np.arange(N) >= 10)[:, None], "10 of 150 cells .* first 'c0'"),
    "mV in V": ("ephys", lambda x: x / 1000, "another unit"),
    "V in mV": ("ephys", lambda x: x * 1000, "another unit"),
    "a third in another unit": ("ephys", lambda x: x * np.where(np.arange(10) % 3, 1, 1e-3), "another unit"),
    "z of measurements": ("ephys", z, "another unit"),
    "measurements in another order": ("ephys", lambda x: x[:, ::-1], "another unit"),
    "no measurements": ("ephys", np.zeros_like, "another unit"),
    "scaled log-normalised": ("lognorm", z, "negative values, the training cells had none"),
    "counts for log-normalised": ("lognorm", lambda x: X["rna"] * 50, "another unit|another depth"),
    "other genes, log-normalised": ("lognorm", lambda x: x[:, np.argsort(x.mean(0))[::-1][_rank(x)]], "another unit"),
}


def _rank(x):
    return np.argsort(np.argsort(x.mean(0)))


def embedded(mdata, model, caplog):
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="jamie"):
        model.embed(mdata)
    return [record.getMessage() for record in caplog.records if "missing, first" not in record.getMessage()]


@pytest.mark.parametrize("given", WARNED)
def test_what_can_hardly_be_that_is_warned_of_once(model, given, caplog):
    name, change, message = WARNED[given]
    values = change(X[name]).astype(np.float32)
    for form in (np.asarray, sparse.csr_matrix):
        messages = embedded(mdata_of({name: form(values)}), model, caplog)
        assert len(messages) == 1, messages
        assert f"mdata[{name!r}].X" in messages[0]
        assert pd.Series(messages).str.contains(message).all()


FINE = {
    "as it is": lambda name, x: x,
    "float64": lambda name, x: x.astype(np.float64),
    "CSC": lambda name, x: sparse.csc_matrix(x),
    "twice as deep": lambda name, x: x if name in ("ephys", "lognorm") else x * 2,
    "binary regions": lambda name, x: x > 0 if name == "atac" else x,
    "some noise": lambda name, x: (
        x * (1 + 0.01 * np.random.default_rng(3).normal(size=x.shape).astype("f4")) if name == "ephys" else x
    ),
}


@pytest.mark.parametrize("given", FINE)
def test_what_is_right_is_not_warned_of(model, given, caplog):
    mdata = mdata_of({name: FINE[given](name, x) for name, x in X.items()})
    assert embedded(mdata, model, caplog) == []


def test_other_cells_single_types_and_few_cells_are_not_warned_of(model, caplog):
    new = simulated(seed=11, n=400)
    types = np.argsort(new["protein"][:, 0] / new["protein"].sum(1))
    for rows in (np.arange(400), types[:60], types[-60:], np.arange(3), np.array([5])):
        part = {name: x[rows] for name, x in new.items()}
        assert embedded(mdata_of(x=part), model, caplog) == []


def test_totals_are_not_compared_where_features_are_missing(model, caplog):
    mdata = mdata_of()
    part = MuData({name: adata[:, : int(np.ceil(0.8 * adata.n_vars))].copy() for name, adata in mdata.mod.items()})
    assert embedded(part, model, caplog) == []


def test_training_says_that_cells_have_no_counts(caplog):
    x = {**X, "rna": X["rna"] * (np.arange(N) != 4)[:, None]}
    mdata = mdata_of(x=x)
    with caplog.at_level(logging.WARNING, logger="jamie"):
        jm.tl.train(MuData({name: mdata[name] for name in ("rna", "ephys")}), max_steps=2)
    assert sum("1 of 150 cells of `mdata['rna'].X` have no counts at all" in text for text in caplog.messages) == 1


def test_completed_values_are_no_counts_but_known_as_such(model, caplog):
    mdata = mdata_of()
    partly = MuData(
        {name: a[: N - 20].copy() if name in ("rna", "atac") else a.copy() for name, a in mdata.mod.items()}
    )
    completed = jm.tl.complete(partly, model)
    assert n_fractions(completed["rna"].X.data if sparse.issparse(completed["rna"].X) else completed["rna"].X)
    assert embedded(completed, model, caplog) == []


def test_components_of_the_user_are_not_compared_with_standardised_ones(caplog):
    rng = np.random.default_rng(0)
    mdata = mdata_of()
    for adata in (mdata["ephys"], mdata["lognorm"]):
        values = adata.X = (0.01 * rng.normal(size=adata.shape)).astype(np.float32)
        u, s, vt = np.linalg.svd(values - values.mean(0), full_matrices=False)
        adata.obsm["X_pca"], adata.varm["PCs"] = (u * s)[:, :5], vt[:5].T
    both = MuData({name: mdata[name] for name in ("ephys", "lognorm")})
    jm.pp.prepare(both, use_rep="X_pca")
    trained = jm.tl.train(both, max_steps=2)
    assert embedded(both, trained, caplog) == []


# the parts


@pytest.mark.parametrize("kind", ["counts", "protein", "accessibility", "continuous"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_a_block_tells_what_it_holds(kind, form):
    x = np.array([[0, 1, 2.5], [-1, 0, 4], [np.nan, 0, 3]], dtype=np.float32)
    check = check_block(form(x), form(np.nan_to_num(x)), kind)
    assert (check.n_negative, check.n_missing) == (1, 1)
    assert check.n_fractions == (0 if kind == "continuous" else 1)
    assert_allclose(check.totals, [2, 0, 1] if kind == "accessibility" else [3.5, 3, 3])
    if kind in ("counts", "continuous"):
        assert_allclose(check.sum_z, [-1, 1, 9.5])
        assert_allclose(check.sum_z2, [1, 1, 31.25])


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_sums_of_large_counts_are_exact(form):
    x = np.array([[2**24, 1, 1], [2**24, 1, 0]], dtype=np.float32)  # of which single precision loses the ones
    check = check_block(form(x), form(x.T.copy()), "counts")
    assert check.totals.tolist() == [2**24 + 2, 2**24 + 1]
    assert check.sum_z.tolist() == [2**24 + 2, 2**24 + 1]
    assert check.sum_z2.tolist() == [2**48 + 2, 2**48 + 1]


def test_layers_of_counts_are_found_wherever_they_are():
    x = X["rna"]
    layers = {
        "norm": np.log1p(x), "counts": sparse.csr_matrix(x), "ints": x.astype(np.uint8), "zeros": x * 0, "negative": -x,
        "gaps": np.where(x > 3, np.nan, x), "text": x.astype(str).astype(object),
    }  # fmt: skip
    adata = ad.AnnData(np.log1p(x), layers=layers)
    assert layers_of_counts(adata) == ["counts", "ints"]
    assert layers_of_counts(adata, other_than="mdata['rna'].layers['counts']") == ["ints"]
    adata.X = x
    assert layers_of_counts(adata) == ["X", "counts", "ints"]
    assert layers_of_counts(ad.AnnData(None, obs=adata.obs, var=adata.var)) == []


def test_what_values_must_be_is_kept_with_the_model(model, tmp_path):
    model.save(tmp_path / "x.jamie")
    loaded = jm.JAMIE.load(tmp_path / "x.jamie")
    for name, preparation in model.preparations_.items():
        for one, two in zip(preparation.expected(), loaded.preparations_[name].expected(), strict=True):
            assert np.array_equal(one, two)
    assert not model.preparations_["ephys"].is_nonnegative
    assert model.preparations_["lognorm"].is_nonnegative
    n_open = (X["atac"] > 0).sum(1)[np.arange(N) % 4 > 0]
    assert_allclose(model.preparations_["atac"].totals, np.percentile(n_open, [1, 50, 99]))
    assert open_cells(mdata_of()).names == tuple(model.preparations_)


# where warnings begin


def checked(z, *, kind="continuous", totals=None, expected_totals=(0, 0, 0), n_missing=0, n_negative=0, **expected):
    """`require_values` of standardised features z, (n, d), of cells that sum up to `totals`."""
    d = z.shape[1]
    totals = np.zeros(len(z)) if totals is None else np.asarray(totals, dtype=float)
    blocks = [
        BlockCheck(n_negative, 0, n_missing, totals[rows], z[rows].sum(0), np.square(z[rows]).sum(0))
        for rows in (slice(0, 7), slice(7, None))
    ]
    usual = {
        "is_whole": True,
        "is_nonnegative": False,
        "totals": np.asarray(expected_totals),
        "mean": np.zeros(d),
        "sd": np.full(d, 2.0),
    }
    require_values(
        blocks,
        Expected(kind, **(usual | expected)),
        name="rna",
        where="mdata['rna'].X",
        adata=ad.AnnData(np.ones((2, d), np.float32)),
        cells=pd.RangeIndex(len(z)).astype(str),
        is_centred=True,
        is_complete=True,
    )


def spread(n, mean, sd):
    """Cells of which each feature has exactly this mean and standard deviation."""
    signs = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
    assert n % 2 == 0
    return np.asarray(mean) + signs * np.asarray(sd)


def of(n_far, d, far, usual=1.0):
    return np.where(np.arange(d) < n_far, far, usual)


@pytest.mark.parametrize(
    ("mean", "sd", "warned"),
    [
        (of(5, 29, 2.1, 0), 1.0, False),  # at most a fifth of the features
        (of(6, 29, 2.1, 0), 1.0, True),
        (of(6, 29, 2.0, 0), 1.0, False),
        (of(6, 29, -2.1, 0), 1.0, True),
        (of(1, 4, 2.1, 0), 1.0, False),  # and at least two
        (of(2, 4, 2.1, 0), 1.0, True),
        (np.zeros(29), of(6, 29, 0.019), True),  # that hardly vary
        (np.zeros(29), of(6, 29, 0.021), False),
        (np.zeros(29), of(6, 29, 0.0), False),
        (np.full(29, 1.6), 1.1, False),  # a median size of 1.94, 2.10
        (np.full(29, 1.9), 0.9, True),
        (np.zeros(29), 0.101, False),
        (np.zeros(29), 0.099, True),
        (np.zeros(30), of(26, 30, 0.05, 0.2), False),  # of the widest tenth
        (np.zeros(30), of(28, 30, 0.05, 0.2), True),
    ],
)
def test_measurements_are_far_where_many_of_them_are_or_all_in_the_middle(mean, sd, warned, caplog):
    checked(spread(20, mean, np.broadcast_to(sd, mean.shape)))
    assert ("far from those the model was trained on" in caplog.text) == warned
    assert len(caplog.records) == warned
    caplog.clear()
    checked(spread(18, mean, np.broadcast_to(sd, mean.shape)))  # too few cells to tell
    assert not caplog.records


@pytest.mark.parametrize(("kind", "factor"), [("counts", 3), ("protein", 3), ("accessibility", 3), ("continuous", 2)])
def test_a_median_total_may_be_as_far_beyond_those_of_the_training(kind, factor, caplog):
    usual = np.array([12.0, 20.0, 40.0])
    for total, warned in ((12 / factor, 0), (12 / factor - 0.01, 1), (40 * factor, 0), (40 * factor + 0.01, 1)):
        caplog.clear()
        checked(np.zeros((19, 3)), kind=kind, totals=[0.001, *[total] * 17, 1e9], expected_totals=usual)
        assert len(caplog.records) == warned
        assert ("the median cell of" in caplog.text) == warned
    caplog.clear()
    checked(np.zeros((19, 3)), kind=kind, totals=[1e9] * 19)  # of a training whose totals say nothing
    checked(np.zeros((19, 3)), kind=kind, totals=[1e9] * 19, expected_totals=usual, n_missing=1)  # nor those here
    assert not caplog.records


@pytest.mark.parametrize(
    ("d", "n", "above", "warned"),
    [(50, 20, 0.29, True), (50, 20, 0.31, False), (49, 20, 0.29, False), (50, 18, 0.29, False)],
)
def test_means_of_features_are_compared_where_there_are_enough_of_them(d, n, above, warned, caplog):
    """Means that have a correlation of so much with those of the training, of nonnegative values."""
    rng = np.random.default_rng(0)
    usual, other = np.linalg.qr(rng.normal(size=(d, 3)) - rng.normal(size=(d, 3)).mean(0))[0].T[:2]
    usual, other = (v - v.mean() for v in (usual, other))
    other -= usual * (other @ usual) / (usual @ usual)
    profile = above * usual / np.linalg.norm(usual) + np.sqrt(1 - above**2) * other / np.linalg.norm(other)
    assert np.corrcoef(profile, usual)[0, 1] == pytest.approx(above)
    for is_nonnegative in (True, False):
        caplog.clear()
        checked(spread(n, (profile - usual) / 2, np.ones(d)), mean=usual, is_nonnegative=is_nonnegative)
        assert ("have a correlation of 0.29 with" in caplog.text) == (warned and is_nonnegative)
        assert len(caplog.records) == (warned and is_nonnegative)


def test_negative_values_of_a_measurement_that_had_none_are_told_and_nothing_else(caplog):
    checked(np.full((20, 60), 9.0), is_nonnegative=True, n_negative=3)
    assert caplog.text.count("has 6 negative values, the training cells had none: were they scaled since?") == 1
    assert len(caplog.records) == 1


def test_where_the_values_of_the_training_would_come_from():
    x = X["rna"][:9]
    adata = ad.AnnData(np.log1p(x), layers={"counts": x})
    mend = "`layers['counts']` holds whole numbers: pass layer={'rna': 'counts'}"
    again = "give the model the values that it was trained on, or train again with jm.tl.train(mdata)"
    assert remedy("rna", adata, "mdata['rna'].X") == mend
    assert remedy("rna", adata, "mdata['rna'].X", counts=False) == again
    assert remedy("rna", adata, "mdata['rna'].layers['counts']") == again
    adata.X = x
    assert remedy("rna", adata, "mdata['rna'].layers['z']") == "`.X` holds whole numbers: pass layer={'rna': 'X'}"


def test_of_cells_that_are_too_deep_it_is_not_said_as_well_that_their_features_are_others(caplog):
    usual, totals = np.arange(50.0), np.array([12.0, 20.0, 40.0])
    unlike = {"mean": usual, "is_nonnegative": True, "expected_totals": totals}
    for total, said in ((20.0, "have a correlation of -1.00"), (1e4, "the median cell of")):
        caplog.clear()
        checked(spread(20, (usual[::-1] - usual) / 2, np.ones(50)), kind="counts", totals=[total] * 20, **unlike)
        assert said in caplog.text
        assert len(caplog.records) == 1
