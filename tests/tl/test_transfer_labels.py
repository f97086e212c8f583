"""Labels carried across modalities, beside scikit-learn's vote and a brute-force one."""

from __future__ import annotations

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier

import jamie as jm
from jamie.tl import _transfer_labels

LABEL, CONFIDENCE = "jamie_label_cell_type", "jamie_confidence_cell_type"


def transfer(mdata, **options):
    return jm.tl.transfer_labels(mdata, **{"labels": "cell_type", "source": "rna", "target": "protein"} | options)


def found(mdata, target="protein"):
    return mdata[target].obs[LABEL], mdata[target].obs[CONFIDENCE]


def inferred(mdata, a, b, seed=0, empty=5):
    """Write a random correspondence of 4 partners a row; the first cells of `b` are nobody's partner."""
    rng = np.random.default_rng(seed)
    n_a, n_b = mdata[a].n_obs, mdata[b].n_obs
    f = np.zeros((n_a, n_b), np.float32)
    for row in f:
        row[rng.choice(np.arange(empty, n_b), 4, replace=False)] = rng.dirichlet(np.ones(4))
    whole = np.zeros((mdata.n_obs, mdata.n_obs), np.float32)
    rows, columns = (mdata.obs_names.get_indexer(mdata[name].obs_names) for name in (a, b))
    whole[np.ix_(rows, columns)] = f
    mdata.obsp[f"jamie_inferred_{a}_{b}"] = sparse.csr_matrix(whole)
    return f


@pytest.mark.parametrize("n_neighbors", [1, 5, 15])
@pytest.mark.parametrize(("source", "target"), [("rna", "protein"), ("protein", "rna")])
def test_the_vote_is_that_of_scikit_learn(trained, source, target, n_neighbors):
    mdata, _ = trained
    assert transfer(mdata, source=source, target=target, n_neighbors=n_neighbors) is None
    labels = mdata.obs["cell_type"].reindex(mdata[source].obs_names)
    x, y = (mdata[name].obsm["X_jamie"] for name in (source, target))
    oracle = KNeighborsClassifier(n_neighbors).fit(x, labels.cat.codes)
    label, confidence = found(mdata, target)
    assert_array_equal(label.cat.codes, oracle.predict(y))
    assert_allclose(confidence, oracle.predict_proba(y).max(axis=1), rtol=1e-6)
    assert list(label.cat.categories) == list(labels.cat.categories)
    assert confidence.dtype == np.float32


def test_most_labels_are_right_also_of_cells_that_are_not_in_the_source(trained):
    mdata, _ = trained
    truth = mdata["protein"].obs["cell_type"].astype(str)
    transfer(mdata)
    label, confidence = found(mdata)
    alone = ~mdata["protein"].obs_names.isin(mdata["rna"].obs_names)
    assert (label == truth).mean() > 0.85
    assert (label == truth)[alone].mean() > 0.6
    assert confidence.between(1 / 3, 1).all()


def test_cells_without_a_label_do_not_vote(trained):
    mdata, _ = trained
    labels = mdata["rna"].obs["cell_type"].astype(object)
    labels[mdata["rna"].obs_names.isin(mdata.obs_names[mdata.obs["jamie_split"] == "test"])] = None
    mdata["rna"].obs["cell_type"] = labels
    kept = labels.notna().to_numpy()
    transfer(mdata)
    oracle = KNeighborsClassifier(15).fit(mdata["rna"].obsm["X_jamie"][kept], labels[kept].astype(str))
    y = mdata["protein"].obsm["X_jamie"]
    assert_array_equal(found(mdata)[0].astype(str), oracle.predict(y))
    assert_allclose(found(mdata)[1], oracle.predict_proba(y).max(axis=1), rtol=1e-6)


def test_fewer_labelled_cells_than_neighbours_all_vote(trained):
    mdata, _ = trained
    labels = mdata["rna"].obs["cell_type"].astype(object).where(np.arange(mdata["rna"].n_obs) < 3)
    mdata["rna"].obs["few"] = labels
    transfer(mdata, labels="few")
    counts = labels.value_counts(normalize=True)
    assert (mdata["protein"].obs["jamie_label_few"] == counts.idxmax()).all()
    assert_allclose(mdata["protein"].obs["jamie_confidence_few"], counts.max(), rtol=1e-6)


@pytest.mark.parametrize("written", [("rna", "protein"), ("protein", "rna")])
def test_through_an_inferred_correspondence_of_either_orientation(toy, written):
    f = inferred(toy, *written)
    votes = f.T.astype(float) if written == ("rna", "protein") else f.astype(float)  # protein × rna
    labels = toy["rna"].obs["cell_type"]
    labels = labels.astype(object).where(np.arange(len(labels)) % 4 != 0)
    toy["rna"].obs["cell_type"] = labels
    expected = votes @ pd.get_dummies(labels).to_numpy(float)
    total = expected.sum(axis=1)
    transfer(toy, through="inferred")
    label, confidence = found(toy)
    has = total > 0
    assert_array_equal(label.isna(), ~has)
    assert_array_equal(confidence.isna(), ~has)
    assert_array_equal(label.cat.codes[has], expected[has].argmax(axis=1))
    assert_allclose(confidence[has], (expected.max(axis=1)[has] / total[has]), rtol=1e-5)
    if written == ("rna", "protein"):
        assert (~has).sum() >= 5


def test_labels_of_the_modality_come_first_then_those_of_the_mudata(trained):
    mdata, _ = trained
    mdata["rna"].obs["cell_type"] = pd.Categorical(["own"] * mdata["rna"].n_obs)
    transfer(mdata)
    assert set(found(mdata)[0]) == {"own"}
    del mdata["rna"].obs["cell_type"]
    transfer(mdata)
    assert set(found(mdata)[0]) == set(mdata.obs["cell_type"])


def test_order_and_unused_categories_are_kept(trained):
    mdata, _ = trained
    dtype = pd.CategoricalDtype([*mdata.obs["cell_type"].cat.categories[::-1], "unseen"], ordered=True)
    mdata["rna"].obs["cell_type"] = mdata["rna"].obs["cell_type"].astype(dtype)
    transfer(mdata)
    assert found(mdata)[0].dtype == dtype


@pytest.mark.parametrize(
    ("values", "categories"),
    [([0, 1, 2], [0, 1, 2]), ([True, False, True], [False, True]), ([1.0, 2.0, np.nan], [1.0, 2.0])],
)
def test_numbers_that_are_classes_are_taken(trained, tmp_path, values, categories):
    mdata, _ = trained
    mdata["rna"].obs["cluster"] = np.resize(values, mdata["rna"].n_obs)
    transfer(mdata, labels="cluster")
    assert list(mdata["protein"].obs["jamie_label_cluster"].cat.categories) == categories
    mdata.write(tmp_path / "cells.h5mu")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda n: np.linspace(0, 1, n), r"expected categories in `mdata\['rna'\].obs\['depth'\]`, found float64 with"),
        (lambda n: np.arange(n), r"found int64 with \d+ values; cut it into classes with pd.cut, or make it .astype"),
        (lambda n: np.resize([0.25, 0.5], n), "found float64 with 2 values"),
        (lambda n: np.full(n, np.nan), r"expected labels of cells of 'rna' in `mdata\['rna'\].*found none"),
        (lambda n: pd.Categorical([None] * n, ["a"]), "found none"),
    ],
)
def test_measurements_and_empty_columns_are_refused(trained, values, message):
    mdata, _ = trained
    mdata["rna"].obs["depth"] = values(mdata["rna"].n_obs)
    before = list(mdata["protein"].obs)
    with pytest.raises(ValueError, match=message):
        transfer(mdata, labels="depth")
    assert list(mdata["protein"].obs) == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": "cell_typ"}, KeyError, r"found 'cell_typ' in none: `mdata\.obs` has .*did you mean 'cell_type'"),
        ({"source": "rnaa"}, KeyError, "found 'rnaa'; did you mean 'rna'"),
        ({"target": "rna"}, ValueError, "at least two modalities"),
        ({"through": "match"}, ValueError, r"`through` to be one of \['latent', 'inferred'\]"),
        ({"through": "inferred"}, KeyError, r"jamie_inferred_.*jm.pp.infer_correspondence\(mdata\)"),
        ({"n_neighbors": 0}, ValueError, "`n_neighbors` of at least 1, found 0"),
        ({"key_added": "mine"}, KeyError, r"X_mine.*jm\.tl\.train"),
    ],
)
def test_bad_input_is_refused(trained, options, error, message):
    mdata, _ = trained
    before = mdata["protein"].obs.copy(), mdata.obs.copy()
    with pytest.raises(error, match=message):
        transfer(mdata, **options)
    pd.testing.assert_frame_equal(mdata["protein"].obs, before[0])
    pd.testing.assert_frame_equal(mdata.obs, before[1])


def test_no_model_is_needed_through_an_inferred_correspondence(toy):
    with pytest.raises(KeyError, match=r"jm\.tl\.train\(mdata\)"):
        transfer(toy)
    inferred(toy, "rna", "protein")
    transfer(toy, through="inferred")
    with pytest.raises(TypeError, match="expected a MuData, found AnnData"):
        transfer(toy["rna"])


def test_a_copy_leaves_the_original_and_the_prefix_is_read_and_written(trained):
    mdata, model = trained
    before = list(mdata["protein"].obs)
    copied = transfer(mdata, copy=True)
    assert LABEL in copied["protein"].obs
    assert list(mdata["protein"].obs) == before
    jm.tl.embed(mdata, model, key_added="mine")
    transfer(mdata, key_added="mine")
    names = ("role", "novelty_rna", "label_cell_type", "confidence_cell_type", "seen_cell_type")
    assert list(mdata["protein"].obs) == [*before, *(f"mine_{name}" for name in names)]


def test_a_file_keeps_it_with_gaps_and_a_name_of_any_sort(toy, tmp_path):
    toy["rna"].obs["level 1, (type)"] = toy["rna"].obs["cell_type"]
    inferred(toy, "rna", "protein")
    transfer(toy, labels="level 1, (type)", through="inferred")
    assert toy["protein"].obs["jamie_label_level 1, (type)"].isna().any()
    toy.write(tmp_path / "cells.h5mu")
    again = mudata.read_h5mu(tmp_path / "cells.h5mu")
    columns = ["jamie_label_level 1, (type)", "jamie_confidence_level 1, (type)"]
    pd.testing.assert_frame_equal(again["protein"].obs[columns], toy["protein"].obs[columns])


@pytest.mark.parametrize("column", ["level 1/type", " ", "a\0b"])
def test_a_name_that_no_file_holds_is_refused_before_anything_is_computed(toy, column, monkeypatch):
    monkeypatch.setattr("jamie.tl._transfer_labels.latents", None)
    toy["rna"].obs[column] = toy["rna"].obs["cell_type"]
    with pytest.raises(ValueError, match=r"a name that a file can hold, found .*; rename it"):
        transfer(toy, labels=column)
    assert not any(name.startswith("jamie") for name in toy["protein"].obs)


def test_a_third_modality_is_left_alone(trained):
    mdata, _ = trained
    other = mdata["rna"][:30].copy()
    other.var_names = [f"other{i}" for i in range(other.n_vars)]
    three = MuData({"rna": mdata["rna"].copy(), "protein": mdata["protein"].copy(), "atac": other})
    before = list(three["atac"].obs)
    transfer(three)
    assert list(three["atac"].obs) == before
    transfer(mdata)
    pd.testing.assert_series_equal(found(three)[0], found(mdata)[0])


def overlapping(n=1_500, seed=0):
    """Cells of three overlapping classes, whose halves lie close together, as training draws them: of a model's say."""
    rng = np.random.default_rng(seed)
    labels, place = rng.integers(3, size=n), rng.normal(size=(n, 2))
    place += 1.2 * np.array([[0, 0], [1, 0], [0, 1]])[labels]
    mods, names = {}, [f"cell{i}" for i in range(n)]
    for name in ("rna", "protein"):
        mods[name] = ad.AnnData(np.ones((n, 2), np.float32))
        mods[name].obs_names, mods[name].var_names = names, [f"{name}{i}" for i in range(2)]
        # clusters of cells with one label make votes of neighbours surer than they are right
        mods[name].obsm["X_jamie"] = (np.round(place * 2) / 2 + 0.01 * rng.normal(size=(n, 2))).astype(np.float32)
        mods[name].obs["jamie_role"] = np.repeat(["train", "validation", "held-out"], n // 3)
    mods["rna"].obs["cell_type"] = pd.Categorical(
        np.where(np.repeat([True, True, False], n // 3), np.array(["a", "b", "c"])[labels], None)
    )
    return MuData(mods), np.array(["a", "b", "c"])[labels]


def test_the_confidence_is_how_many_labels_are_right():
    mdata, truth = overlapping()
    transfer(mdata, n_neighbors=3)
    label, confidence = found(mdata)
    new = slice(1_000, None)
    right = (label == truth)[new]
    error = jm.metrics.calibration_error(confidence[new], right)
    assert error < 0.06
    for name in ("rna", "protein"):
        mdata[name].obs["jamie_role"] = mdata[name].obs["jamie_role"].replace("validation", "train")
    transfer(mdata, n_neighbors=3)
    plain = found(mdata)
    assert_array_equal(plain[0], label)
    assert jm.metrics.calibration_error(plain[1][new], right) > 2 * error


def test_validation_cells_do_not_hear_their_own_half(monkeypatch):
    mdata, _ = overlapping(300)
    given = []
    monkeypatch.setattr(_transfer_labels, "temperature", lambda *args: given.append(args) or 1.0)
    transfer(mdata, n_neighbors=4)
    ((votes, codes, n_labels),) = given
    x, y = (mdata[name].obsm["X_jamie"].astype(float) for name in ("rna", "protein"))
    labels = mdata["rna"].obs["cell_type"].cat.codes.to_numpy()
    for i in range(100):
        cell = 100 + i
        apart = np.linalg.norm(x - y[cell], axis=1)
        apart[cell], apart[200:] = np.inf, np.inf
        expected = np.bincount(labels[np.argsort(apart)[:4]], minlength=3)
        assert_array_equal(votes[i].toarray().ravel(), expected)
    assert_array_equal(codes, labels[100:200])
    assert n_labels == 3


def test_cells_unlike_anything_get_no_label(trained, tmp_path):
    mdata, _ = trained
    transfer(mdata)
    label, confidence = found(mdata)
    novelty = mdata["protein"].obs["jamie_novelty_rna"]
    most = float(novelty.median())
    transfer(mdata, max_novelty=most)
    mdata.write(tmp_path / "x.h5mu")
    some, sure = found(mudata.read_h5mu(tmp_path / "x.h5mu"))
    assert_array_equal(some.isna(), novelty > most)
    assert_array_equal(sure.isna(), novelty > most)
    assert_array_equal(some[novelty <= most], label[novelty <= most])
    assert_array_equal(sure[novelty <= most], confidence[novelty <= most])
    mdata["protein"].obs.loc[novelty.index[:3], "jamie_novelty_rna"] = np.nan  # nothing is known of these
    transfer(mdata, max_novelty=100)
    assert_array_equal(found(mdata)[0].isna(), np.arange(len(novelty)) < 3)
    for wrong in (0, -1, "1", True):
        with pytest.raises(ValueError, match="`max_novelty` as a number above 0"):
            transfer(mdata, max_novelty=wrong)
    del mdata["protein"].obs["jamie_novelty_rna"]
    with pytest.raises(
        KeyError, match=r"novelty of the cells .*'jamie_novelty_rna'.*call jm\.tl\.embed\(mdata, model\)"
    ):
        transfer(mdata, max_novelty=1)
