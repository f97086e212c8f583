"""Imputed values: computed by hand, laid beside the right cells, in the target's own units."""

from __future__ import annotations

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.tl import _impute


def by_hand(mdata, model):
    """Imputed proteins from the genes: normalise, project, encode, decode, mix in the kernel's, project back."""
    genes, proteins = model.preparations_["rna"], model.preparations_["protein"]
    train = mdata.obs["jamie_split"].reindex(mdata["rna"].obs_names) == "train"
    x = mdata["rna"].X.toarray().astype(np.float64)
    depth = np.median(x.sum(1)[train])
    log = np.log1p(x / x.sum(1, keepdims=True) * depth)
    z = (log - log[train].mean(0)) / log[train].std(0) @ genes.loadings
    scale = z[train].std(0, ddof=1)[0]
    with torch.no_grad():
        latent, _ = model.network_.encode("rna", torch.from_numpy((z / scale).astype(np.float32)))
        scores = model.network_.decode("protein", latent).numpy()
    kernel_mix = {key: value.numpy() for key, value in model.network_.kernel_mix("rna", "protein").named_buffers()}
    apart = np.linalg.norm(
        ((z / scale - kernel_mix["origin"]) @ kernel_mix["directions"])[:, None] - kernel_mix["landmarks"], axis=2
    )
    by_kernel = np.exp(-kernel_mix["rate"] * apart) @ kernel_mix["coefficients"] + kernel_mix["offset"]
    scores = (1 - kernel_mix["mix_weight"]) * scores + kernel_mix["mix_weight"] * by_kernel
    measured = mdata["protein"]
    train = (mdata.obs["jamie_split"].reindex(measured.obs_names) == "train").to_numpy()
    clr = np.log1p(measured.X / np.exp(np.log1p(measured.X).mean(1, keepdims=True)))
    mean, sd = clr[train].mean(0), clr[train].std(0)
    scale = ((clr[train] - mean) / sd @ proteins.loadings).std(0, ddof=1)[0]
    return scores * scale @ proteins.loadings.T * sd + mean


def test_values_are_what_the_equations_give(trained):
    mdata, model = trained
    assert jm.tl.impute(mdata, model, source="rna", target="protein") is None
    frame = mdata["rna"].obsm["jamie_imputed_protein"]
    assert_allclose(frame, by_hand(mdata, model), rtol=1e-3, atol=1e-3)
    assert_array_equal(frame.index, mdata["rna"].obs_names)
    assert_array_equal(frame.columns, mdata["protein"].var_names)
    assert (frame.dtypes == np.float32).all()


def test_held_out_values_follow_the_measured_ones(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    test = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    x = mdata["protein"].X
    clr = np.log1p(x / np.exp(np.log1p(x).mean(1, keepdims=True)))
    measured = pd.DataFrame(clr, index=mdata["protein"].obs_names).loc[test].to_numpy()
    imputed = mdata["rna"].obsm["jamie_imputed_protein"].loc[test].to_numpy()
    r = [np.corrcoef(measured[:, j], imputed[:, j])[0, 1] for j in range(12)]
    assert np.mean(r) > 0.6
    assert abs(measured - imputed).mean() < abs(measured - measured.mean(0)).mean()


def test_the_layer_is_matched_by_name_and_nan_without_a_source(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    layer = pd.DataFrame(mdata["protein"].layers["jamie_imputed"], index=mdata["protein"].obs_names)
    frame = mdata["rna"].obsm["jamie_imputed_protein"]
    both = frame.index.intersection(layer.index)
    assert 0 < len(both) < len(layer)
    assert_array_equal(layer.loc[both], frame.loc[both])
    assert layer.loc[layer.index.difference(both)].isna().all(axis=None)


def test_some_features_are_columns_of_all(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="protein", target="rna")
    full = mdata["protein"].obsm["jamie_imputed_rna"]
    assert "jamie_imputed" in mdata["rna"].layers
    jm.tl.impute(mdata, model, source="protein", target="rna", features=["gene30", "gene2"])
    some = mdata["protein"].obsm["jamie_imputed_rna"]
    assert list(some.columns) == ["gene30", "gene2"]
    assert_allclose(some, full[["gene30", "gene2"]], rtol=1e-4, atol=1e-5)
    assert "jamie_imputed" not in mdata["rna"].layers  # they were of another call
    assert list(mdata["protein"].uns["jamie_imputed_rna"]["features"]) == ["gene30", "gene2"]


def test_the_target_need_not_be_there(trained):
    mdata, model = trained
    only = MuData({"rna": mdata["rna"].copy()})
    jm.tl.impute(only, model, source="rna", target="protein")
    jm.tl.impute(mdata, model, source="rna", target="protein")
    assert_array_equal(only["rna"].obsm["jamie_imputed_protein"], mdata["rna"].obsm["jamie_imputed_protein"])


def test_the_record(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    about = mdata["rna"].uns["jamie_imputed_protein"]
    assert about["kind"] == "protein"
    assert "centred log-ratio" in about["scale"]
    assert list(about["features"]) == list(mdata["protein"].var_names)
    assert about["depth"] == model.preparations_["protein"].normaliser.depth


@pytest.mark.parametrize("names", [["CD3/CD8", "CD4"], ["a/b", "a_b"]], ids=["one", "alike without it"])
def test_a_slash_in_a_name_can_be_written(toy, names, tmp_path):
    toy["protein"].var_names = [*names, *toy["protein"].var_names[2:]]
    toy.update()
    model = jm.tl.train(toy, max_steps=2)
    jm.tl.impute(toy, model, source="rna", target="protein")
    assert not any("/" in column for column in toy["rna"].obsm["jamie_imputed_protein"].columns)
    assert list(toy["rna"].uns["jamie_imputed_protein"]["features"])[:2] == names
    jm.tl.impute(toy, model, source="rna", target="protein", features=names[:1])
    assert toy["rna"].obsm["jamie_imputed_protein"].shape == (54, 1)
    jm.tl.impute(toy, model, source="rna", target="protein")
    toy.write(tmp_path / "slash.h5mu")


def test_accessibility_is_a_probability(toy):
    jm.pp.prepare(toy, kinds={"rna": "accessibility"})
    model = jm.tl.train(toy, max_steps=100)
    jm.tl.impute(toy, model, source="protein", target="rna")
    values = toy["protein"].obsm["jamie_imputed_rna"].to_numpy()
    assert values.min() >= 0
    assert values.max() <= 1
    share = (toy["rna"].X > 0).toarray().mean(0)
    assert np.corrcoef(values.mean(0), share)[0, 1] > 0.8


def test_continuous_is_in_the_units_of_the_input(toy):
    toy["protein"].X = toy["protein"].X * 100 - 7000
    model = jm.tl.train(toy, max_steps=20)
    jm.tl.impute(toy, model, source="rna", target="protein")
    assert_allclose(
        toy["rna"].obsm["jamie_imputed_protein"].mean(),
        toy["protein"].X.mean(0),
        atol=0.5 * toy["protein"].X.std(0).max(),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "rna", "target": "protien"}, "`target`.*did you mean 'protein'"),
        ({"source": "mrna", "target": "protein"}, "`source`.*did you mean 'rna'"),
        (
            {"source": "rna", "target": "protein", "features": ["protein1", "Protein12"]},
            "found 'Protein12'.*'protein12'",
        ),
    ],
)
def test_unknown_names_get_the_close_ones(trained, arguments, message):
    mdata, model = trained
    with pytest.raises(KeyError, match=message):
        jm.tl.impute(mdata, model, **arguments)
    assert "jamie_imputed_protein" not in mdata["rna"].obsm


def test_a_source_that_was_not_measured_is_named(trained):
    mdata, model = trained
    with pytest.raises(KeyError, match=r"`source` to be one of \['rna'\], found 'protein'"):
        jm.tl.impute(MuData({"rna": mdata["rna"].copy()}), model, source="protein", target="rna")


def test_a_copy_leaves_the_original(trained):
    mdata, model = trained
    copied = jm.tl.impute(mdata, model, source="rna", target="protein", key_added="mine", copy=True)
    assert "mine_imputed_protein" in copied["rna"].obsm
    assert "mine_imputed" in copied["protein"].layers
    assert "mine_imputed_protein" not in mdata["rna"].obsm


def test_chosen_cells_are_imputed_as_among_all(trained):
    mdata, model = trained
    chosen = mdata[mdata.obs["cell_type"] == mdata.obs["cell_type"].iloc[0]].copy()
    assert 0 < chosen.n_obs < mdata.n_obs
    for cells in (mdata, chosen):
        jm.tl.impute(cells, model, source="rna", target="protein")
    every, some = (cells["rna"].obsm["jamie_imputed_protein"] for cells in (mdata, chosen))
    assert_allclose(some, every.loc[some.index], rtol=1e-4, atol=1e-5)


BOUNDS = ["lower", "upper"]
DIRECTION = {"source": "rna", "target": "protein"}


def test_bounds_and_draws_lie_beside_the_imputed_values(trained, tmp_path):
    mdata, model = trained
    jm.tl.impute(mdata, model, **DIRECTION, interval=0.8, n_samples=2, rng=5)
    imputed = mdata["rna"].obsm["jamie_imputed_protein"]
    names = [*BOUNDS, "sample_0", "sample_1"]
    frames = {name: mdata["rna"].obsm[f"jamie_imputed_protein_{name}"] for name in names}
    calibration = model.calibration("rna", "protein")
    for name, bound in zip(BOUNDS, calibration.interval(imputed.to_numpy(), 0.8), strict=True):
        assert_array_equal(frames[name], bound)
    position = mdata["rna"].obs_names.get_indexer(mdata["protein"].obs_names)
    for name, frame in frames.items():
        assert list(frame.columns) == list(imputed.columns)
        assert (frame.dtypes == np.float32).all()
        layer = mdata["protein"].layers[f"jamie_imputed_{name}"]
        assert_array_equal(layer[position >= 0], frame.to_numpy()[position[position >= 0]])
        assert np.isnan(layer[position < 0]).all()
    assert not np.array_equal(frames["sample_0"], frames["sample_1"])
    assert mdata["rna"].uns["jamie_imputed_protein"]["interval"] == 0.8
    again = jm.tl.impute(mdata, model, **DIRECTION, n_samples=1, rng=5, copy=True)
    assert_array_equal(again["rna"].obsm["jamie_imputed_protein_sample_0"], frames["sample_0"])
    mdata.write(tmp_path / "x.h5mu")
    found = jm.get.imputed(mudata.read_h5mu(tmp_path / "x.h5mu"), **DIRECTION)
    assert sorted(filter(None, found.layers)) == sorted(f"jamie_imputed_{name}" for name in names)
    assert_array_equal(found.layers["jamie_imputed_upper"], frames["upper"])


def test_bounds_go_with_the_values_they_are_of(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, **DIRECTION, interval=0.8, n_samples=1)
    jm.tl.impute(mdata, model, **DIRECTION)
    for slots in (mdata["rna"].obsm, mdata["protein"].layers):
        assert not [key for key in slots if key and key.endswith(("lower", "upper", "sample_0"))]
    assert "interval" not in mdata["rna"].uns["jamie_imputed_protein"]


def layers(adata):
    return {key for key in adata.layers if key and key.startswith("jamie_imputed")}


@pytest.mark.parametrize("later", [
    {"features": ["protein1", "protein2"]},
    {"features": ["protein1"], "interval": 0.8},
    {"features": [f"protein{i}" for i in range(12, 0, -1)], "n_samples": 1},
])  # fmt: skip
def test_no_layer_outlives_the_values_that_it_is_of(trained, later):
    mdata, model = trained
    whole = {"source": "rna", "target": "protein"}
    jm.tl.impute(mdata, model, **whole, interval=0.8, n_samples=2)
    jm.tl.impute(mdata, model, **whole, key_added="other")
    assert len(layers(mdata["protein"])) == 5
    jm.tl.impute(mdata, model, **whole, **later)
    assert layers(mdata["protein"]) == set()
    assert "other_imputed" in mdata["protein"].layers
    jm.tl.impute(mdata, model, **whole)
    assert layers(mdata["protein"]) == {"jamie_imputed"}


def test_layers_go_where_the_target_lost_a_feature_and_where_two_sources_impute_a_part():
    mdata = jm.datasets.toy(n_cells=80)
    model = jm.tl.train(mdata, max_steps=5)
    jm.tl.impute(mdata, model, source="rna", target="protein", interval=0.8)
    fewer = MuData({"rna": mdata["rna"], "protein": mdata["protein"][:, 1:].copy()})
    jm.tl.impute(fewer, model, source="rna", target="protein")
    assert layers(fewer["protein"]) == set()
    third = mdata["protein"].copy()
    third.var_names = [f"third{i}" for i in range(third.n_vars)]
    three = MuData({"rna": mdata["rna"], "protein": mdata["protein"], "third": third})
    model = jm.tl.train(three, max_steps=5)
    jm.tl.impute(three, model, source="rna", target="third", interval=0.8)
    jm.tl.impute(three, model, source=["rna", "protein"], target="third", features=["third0"])
    assert layers(three["third"]) == set()


def test_a_loaded_model_gives_the_same_bits(trained, tmp_path):
    mdata, model = trained
    model.save(tmp_path / "m.jamie")
    loaded = jm.JAMIE.load(tmp_path / "m.jamie")
    for source, target in (("rna", "protein"), ("protein", "rna")):
        one, other = (
            jm.tl.impute(mdata, m, source=source, target=target, interval=0.9, n_samples=1, copy=True)
            for m in (model, loaded)
        )
        for name in (*BOUNDS, "sample_0"):
            key = f"jamie_imputed_{target}_{name}"
            assert_array_equal(one[source].obsm[key], other[source].obsm[key])


@pytest.mark.parametrize("kind", ["counts", "accessibility"])
def test_bounds_of_every_kind_are_where_its_values_are(toy, kind):
    jm.pp.prepare(toy, kinds={"rna": kind})
    model = jm.tl.train(toy, max_steps=20)
    jm.tl.impute(toy, model, source="protein", target="rna", interval=0.9, n_samples=1)
    lower, upper, drawn = (
        toy["protein"].obsm[f"jamie_imputed_rna_{name}"].to_numpy() for name in (*BOUNDS, "sample_0")
    )
    assert (lower <= upper).all()
    assert lower.min() == 0
    assert upper.max() > 0
    if kind == "accessibility":
        assert set(np.unique(np.stack([lower, upper, drawn]))) <= {0, 1}
    assert_array_equal(drawn.min(), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"interval": 0.999}, "`interval` above 0 and at most 0.9"),
        ({"n_samples": -1}, "`n_samples` of at least 0, found -1"),
        ({"features": []}, "expected features of 'protein', found none"),
        ({"features": ["protein1", "protein2", "protein1"]}, "found 1 repeated, first 'protein1'"),
        ({"n_samples": 1.5}, "`n_samples` as a whole number"),
        ({"min_confidence": 50}, "`min_confidence` as a number from 0 to 1, found 50"),
        ({"min_confidence": True}, "`min_confidence` as a number from 0 to 1"),
        ({"source": "rna", "target": "rna", "min_confidence": 0.5}, "it is a reconstruction"),
        ({"source": "rna", "target": "rna", "interval": 0.9}, "it is a reconstruction"),
    ],
)
def test_what_cannot_be_told_is_refused_before_anything_is_written(trained, arguments, message):
    mdata, model = trained
    with pytest.raises(ValueError, match=message):
        jm.tl.impute(mdata, model, **{**DIRECTION, **arguments})
    assert not [key for key in mdata["rna"].obsm if "imputed" in key]


def sureness(mdata):
    return mdata["rna"].obs["jamie_imputation_confidence_protein"], mdata["rna"].obs["jamie_novelty_protein"]


def test_cells_of_a_low_confidence_are_left_out_of_every_slot(trained, tmp_path, capsys):
    mdata, model = trained
    jm.tl.impute(mdata, model, **DIRECTION, interval=0.8, n_samples=1, rng=5)
    every = mdata.copy()
    confidence, novelty = sureness(every)
    found = model.confidence(model.open(mdata).inputs("rna"), "rna", "protein")
    assert_array_equal(confidence, found.confidence)
    assert_array_equal(novelty, found.novelty)
    capsys.readouterr()
    jm.tl.impute(mdata, model, **DIRECTION, interval=0.8, n_samples=1, rng=5, min_confidence=0.4)
    out = (confidence < 0.4).to_numpy()
    assert 0 < out.sum() < len(out)
    assert f"{out.sum()} of {len(out)} cells of 'rna' have a confidence below 0.4" in capsys.readouterr().err
    in_target = pd.Series(out, mdata["rna"].obs_names).reindex(mdata["protein"].obs_names, fill_value=True)
    for name in ("", "_lower", "_upper", "_sample_0"):
        frame, before = (cells["rna"].obsm[f"jamie_imputed_protein{name}"].to_numpy() for cells in (mdata, every))
        assert np.isnan(frame[out]).all()
        assert_array_equal(frame[~out], before[~out])
        assert_array_equal(np.isnan(mdata["protein"].layers[f"jamie_imputed{name}"]).all(axis=1), in_target)
    assert mdata["rna"].uns["jamie_imputed_protein"]["min_confidence"] == 0.4
    mdata.write(tmp_path / "x.h5mu")
    again = jm.get.imputed(mudata.read_h5mu(tmp_path / "x.h5mu"), **DIRECTION)
    assert_array_equal(again.obs["jamie_imputation_confidence_protein"], confidence)


@pytest.mark.parametrize("options", [{}, {"threshold": 0.05}])
def test_a_file_leaves_out_the_same_cells_and_says_how_sure_the_others_are(trained, tmp_path, options):
    mdata, model = trained
    jm.tl.impute(mdata, model, **DIRECTION, interval=0.8, min_confidence=0.4)
    confidence, novelty = sureness(mdata)
    jm.tl.impute(mdata, model, **DIRECTION, interval=0.8, min_confidence=0.4, out=tmp_path / "x.h5ad", **options)
    written = ad.read_h5ad(tmp_path / "x.h5ad")
    assert_array_equal(written.obs["jamie_imputation_confidence_protein"], confidence)
    assert_array_equal(written.obs["jamie_novelty_protein"], novelty)
    for values in (written.X, written.layers["jamie_imputed_lower"], written.layers["jamie_imputed_upper"]):
        dense = values.toarray() if options else values
        assert_array_equal(np.isnan(dense).all(axis=1), confidence < 0.4)
    jm.tl.impute(mdata, model, **DIRECTION, out=tmp_path / "x.h5ad", **options)  # another call than the one before
    written = ad.read_h5ad(tmp_path / "x.h5ad")
    assert "jamie_imputation_confidence_protein" not in written.obs
    assert not np.isnan(written.X.toarray() if options else written.X).any()


def test_what_was_left_out_is_never_taken_for_a_value(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, **DIRECTION, interval=0.8, n_samples=1, min_confidence=0.4)
    sure = mdata["rna"].obs_names[sureness(mdata)[0] >= 0.4]
    pair = jm.get.comparison(mdata, **DIRECTION)
    held_out = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    both = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names).intersection(held_out)
    assert_array_equal(pair.measured.index, both.intersection(sure))
    assert 0 < len(pair.measured) < len(both)
    for frame in (pair.measured, pair.imputed, *pair.beside.values()):
        assert np.isfinite(frame.to_numpy()).all()
    assert (jm.get.imputed_features(mdata, **DIRECTION)["n_cells"] == len(pair.measured)).all()
    expected = [np.corrcoef(pair.measured[name], pair.imputed[name])[0, 1] for name in pair.measured]
    both = jm.get.agreement(mdata, **DIRECTION, groupby="cell_type")
    assert_allclose(both.correlation, expected, rtol=1e-6)
    assert np.isfinite(both.js_distance).all()
    mdata["rna"].obsm["jamie_imputed_protein"] *= np.nan
    with pytest.raises(ValueError, match=r"`min_confidence` left all \d+ out; call .*, min_confidence=\.\.\.\) with"):
        jm.get.comparison(mdata, **DIRECTION)


def test_how_sure_a_cell_is_goes_with_the_values_it_is_said_of(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, **DIRECTION, min_confidence=0)
    confidence, _ = sureness(mdata)
    assert confidence.between(0, 1).all()
    assert not mdata["rna"].obsm["jamie_imputed_protein"].isna().any(axis=None)
    jm.tl.impute(mdata, model, **DIRECTION)
    assert "jamie_imputation_confidence_protein" not in mdata["rna"].obs


def test_many_new_cells_are_warned_of(trained, caplog, monkeypatch):
    mdata, model = trained
    jm.tl.impute(mdata, model, **DIRECTION, interval=0.9)
    assert "unlike those of the training" not in caplog.text
    distance = jm.JAMIE.distance
    monkeypatch.setattr(jm.JAMIE, "distance", lambda *args, **options: 9 * distance(*args, **options))
    jm.tl.impute(mdata, model, **DIRECTION, interval=0.9)
    assert "100 % of the cells of 'rna' are unlike those of the training" in caplog.text
    assert [record.levelname for record in caplog.records if "unlike" in record.message] == ["WARNING"]


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"threshold": 1.5}])
def test_bounds_in_a_file_hold_all_that_they_held(trained, tmp_path, options):
    mdata, model = trained
    for source, target in (("rna", "protein"), ("protein", "rna")):
        asked = {"source": source, "target": target, "interval": 0.9, "n_samples": 1}
        jm.tl.impute(mdata, model, **asked)
        exact = jm.get.imputed(mdata, source=source, target=target).layers
        jm.tl.impute(mdata, model, **asked, out=tmp_path / "x.h5ad", **options)
        found = ad.read_h5ad(tmp_path / "x.h5ad")
        values = {name: found.layers[name] for name in exact}
        values = {name: of.toarray() if sparse.issparse(of) else of for name, of in values.items()}
        lower, upper, draw = (values[f"jamie_imputed_{what}"].astype(float) for what in ("lower", "upper", "sample_0"))
        assert (lower <= exact["jamie_imputed_lower"]).all()
        assert (upper >= exact["jamie_imputed_upper"]).all()
        off = 1e-3 * exact["jamie_imputed_upper"] + 1e-6  # of float16
        assert (upper <= exact["jamie_imputed_upper"] + off).all()
        dropped = np.abs(exact["jamie_imputed_lower"]) <= options.get("threshold", -1)
        assert (lower >= np.where(dropped, 0, exact["jamie_imputed_lower"] - off)).all()
        assert (np.abs(draw[draw != 0]) > options.get("threshold", 0)).all()


def test_bounds_below_zero_are_kept_where_zero_is_narrower():
    values = np.array([[-2.0, -0.1, 0.0, 0.1, 2.0, np.nan]], dtype=np.float32)
    assert _impute._small(values, "", 0.5).tolist() == [[False, True, True, True, False, False]]
    assert _impute._small(values, "lower", 0.5).tolist() == [[False, False, True, True, False, False]]
    assert _impute._small(values, "upper", 0.5).tolist() == [[False, True, True, False, False, False]]


def test_values_that_a_type_does_not_hold_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 2))
    names = [f"cell{i}" for i in range(60)]
    a, b = (
        ad.AnnData((scale * z @ rng.normal(size=(2, 5))).astype(np.float32), pd.DataFrame(index=names))
        for scale in (1, 1e6)
    )
    a.var_names, b.var_names = list("abcde"), list("vwxyz")
    mdata = mudata.MuData({"a": a, "b": b})
    model = jm.tl.train(mdata, max_steps=2)
    with pytest.raises(ValueError, match=r"float16 holds, up to 65504, found .*; leave `dtype` out"):
        jm.tl.impute(mdata, model, source="a", target="b", out=tmp_path / "x.h5ad", dtype="float16")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="nothing reads a sparse matrix of it"):
        jm.tl.impute(mdata, model, source="a", target="b", out=tmp_path / "x.h5ad", dtype="float16", threshold=1.0)
    assert list(tmp_path.iterdir()) == []
    jm.tl.impute(mdata, model, source="a", target="b", out=tmp_path / "x.h5ad")
