"""The table of measures, against the same numbers computed by hand."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import pearsonr

import jamie as jm
from jamie.data import Preparation
from jamie.metrics import feature_auroc, feature_correlation, js_distance, sd_ratio

METHODS = ["jamie", "mean", "knn", "ridge", "kernel_ridge"]
MEASURES = ["correlation", "auroc", "js_distance", "sd_ratio"]


@pytest.fixture(scope="module")
def evaluated():
    mdata = jm.datasets.toy(n_cells=120)
    jm.pp.split(mdata)
    model = jm.tl.train(mdata, max_steps=60)
    table = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["mean", "knn", "ridge", "kernel_ridge"])
    return mdata, model, table


def held_out(mdata, model):
    """Measured and imputed proteins of the held-out cells, on the imputed scale."""
    test = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    x = mdata["protein"].X.astype(np.float64)
    clr = np.log1p(x / np.exp(np.log1p(x).mean(1, keepdims=True)))
    measured = pd.DataFrame(clr, index=mdata["protein"].obs_names).loc[test].to_numpy()
    imputed = pd.DataFrame(model.impute(mdata, source="rna", target="protein"), index=mdata["rna"].obs_names)
    return measured, imputed.loc[test].to_numpy()


def row(table, source, target, method="jamie"):
    chosen = (table["source"] == source) & (table["target"] == target) & (table["method"] == method)
    return table[chosen].iloc[0]


def test_a_row_for_each_direction_and_method(evaluated):
    _, _, table = evaluated
    assert len(table) == 10
    assert not table.duplicated(["source", "target", "method"]).any()
    assert set(table["method"]) == {"jamie", "mean", "knn", "ridge", "kernel_ridge"}
    assert (table["cells"] == "held-out").all()
    columns = {"n_cells", "correlation", "auroc", "js_distance", "sd_ratio", "n_failed", "foscttm", "lta", "seconds"}
    assert columns <= set(table.columns)
    ours = table["method"] == "jamie"
    assert table.loc[ours, ["foscttm", "lta"]].notna().all(axis=None)
    assert table.loc[~ours, ["foscttm", "lta"]].isna().all(axis=None)
    assert (table["seconds"] >= 0).all()


def test_correlation_is_the_mean_of_pearsons(evaluated):
    mdata, model, table = evaluated
    measured, imputed = held_out(mdata, model)
    r = np.array([pearsonr(measured[:, j], imputed[:, j]).statistic for j in range(12)])
    assert_allclose(row(table, "rna", "protein")["correlation"], r.mean(), atol=1e-4)
    assert_allclose(mdata["protein"].var["jamie_correlation"], r, atol=1e-4)
    assert row(table, "rna", "protein")["n_failed"] == 0


def test_alignment_is_of_the_held_out_pairs(evaluated):
    mdata, _, table = evaluated
    test = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    x, y = (
        pd.DataFrame(mdata[name].obsm["X_jamie"], index=mdata[name].obs_names).loc[test].to_numpy(dtype=float)
        for name in ("rna", "protein")
    )
    distance = np.linalg.norm(x[:, None] - y[None], axis=2)
    own = np.diag(distance)
    n = len(test)
    expected = ((distance < own[:, None]).sum() + (distance < own[None]).sum()) / (2 * n * (n - 1))
    assert_allclose(row(table, "rna", "protein")["foscttm"], expected, atol=1e-6)
    labels = mdata.obs.loc[test, "cell_type"].astype(str).to_numpy()
    nearest = labels[np.argsort(distance, axis=1)[:, :5]]
    votes = [pd.Series(group).value_counts() for group in nearest]
    sure = np.array([len(v) == 1 or v.iloc[0] > v.iloc[1] for v in votes])
    right = np.array([v.index[0] for v in votes]) == labels
    lta = row(table, "rna", "protein")["lta"]
    assert right[sure].sum() / len(test) - 1e-9 <= lta <= (right[sure].sum() + (~sure).sum()) / len(test) + 1e-9


def test_baselines_see_the_training_pairs_alone(evaluated):
    _, _, table = evaluated
    mean = row(table, "rna", "protein", "mean")
    assert mean["n_failed"] == 12
    assert np.isnan(mean["correlation"])
    assert (table.loc[~table["method"].isin(["mean"]), "correlation"] > 0.15).all()
    assert table["correlation"].max() < 0.99


def test_slots(evaluated):
    mdata, _, table = evaluated
    pd.testing.assert_frame_equal(mdata.uns["jamie_evaluation"], table)
    for name in ("rna", "protein"):
        assert {"jamie_correlation", "jamie_auroc", "jamie_js_distance"} <= set(mdata[name].var)
    assert mdata["protein"].var["jamie_auroc"].between(0, 1).all()


def test_every_score_of_every_method_is_stored(evaluated):
    mdata, model, table = evaluated
    measured, imputed = held_out(mdata, model)
    frame = mdata["protein"].varm["jamie_scores_rna"]
    assert list(frame) == [*(f"{measure}_{method}" for measure in MEASURES for method in METHODS), "r_max", "js_floor"]
    for name, measure in zip(MEASURES, (feature_correlation, feature_auroc, js_distance, sd_ratio), strict=True):
        assert_allclose(frame[f"{name}_jamie"], measure(measured, imputed), atol=1e-4)
        assert_array_equal(mdata["protein"].var[f"jamie_{name}"], frame[f"{name}_jamie"])
    assert_array_equal(frame["auroc_mean"], 0.5)
    assert_array_equal(frame["sd_ratio_mean"], 0)
    for source, target in (("rna", "protein"), ("protein", "rna")):
        frame = mdata[target].varm[f"jamie_scores_{source}"]
        for name in MEASURES:
            means = [row(table, source, target, method)[name] for method in METHODS]
            assert_allclose(frame[[f"{name}_{method}" for method in METHODS]].mean(), means)
    assert (table["n_cells"] == len(measured)).all()


@pytest.fixture
def by_label(trained):
    """Labels with a slash that meet when it is replaced, one of one test cell, one of none, and cells without any."""
    mdata, model = trained
    (test,) = np.nonzero((mdata.obs["jamie_split"] == "test").to_numpy())
    label = np.where(np.arange(mdata.n_obs) % 2, "CD4/T", "CD4_T").astype(object)
    label[test[0]], label[test[1]], label[np.flatnonzero(mdata.obs["jamie_split"] == "train")[0]] = "one", None, "none"
    mdata.obs["label"] = pd.Categorical(label)
    return mdata, model, test


def test_distances_within_each_label(by_label):
    mdata, model, test = by_label
    jm.tl.evaluate(mdata, model, labels="label", baselines=["mean"])
    frame = mdata["protein"].varm["jamie_js_distance_rna"]
    names = ["CD4_T", "CD4_T-1", "none", "one"]
    assert list(frame) == [f"{method}: {name}" for method in ("floor", "jamie", "mean") for name in names]
    assert (
        frame[[f"{method}: {name}" for method in ("floor", "jamie", "mean") for name in ("none", "one")]]
        .isna()
        .all(axis=None)
    )
    measured, imputed = held_out(mdata, model)
    labels = mdata.obs["label"].iloc[test].to_numpy()
    for name, label in (("CD4_T", "CD4/T"), ("CD4_T-1", "CD4_T")):
        here = labels == label
        assert_allclose(frame[f"jamie: {name}"], js_distance(measured[here], imputed[here]), atol=1e-4)


def test_scores_come_back_from_a_file(by_label, tmp_path):
    mdata, model, _ = by_label
    jm.tl.evaluate(mdata, model, labels="label", baselines=["mean"])
    mdata.write(tmp_path / "scored.h5mu")
    read = md.read_h5mu(tmp_path / "scored.h5mu")
    for source, target in (("rna", "protein"), ("protein", "rna")):
        for key in (f"jamie_scores_{source}", f"jamie_js_distance_{source}"):
            pd.testing.assert_frame_equal(read[target].varm[key], mdata[target].varm[key])


def test_distances_of_an_earlier_call_go(by_label):
    mdata, model, _ = by_label
    jm.tl.evaluate(mdata, model, labels="label", baselines=[])
    assert "jamie_js_distance_rna" in mdata["protein"].varm
    jm.tl.evaluate(mdata, model, baselines=[])
    assert "jamie_js_distance_rna" not in mdata["protein"].varm
    assert "jamie_scores_rna" in mdata["protein"].varm


def test_a_baseline_named_twice_is_evaluated_once(trained):
    mdata, model = trained
    assert list(jm.tl.evaluate(mdata, model, baselines=["mean", "mean"])["method"]) == ["jamie", "mean"] * 2


def test_nothing_held_out_is_said(toy, capsys):
    model = jm.tl.train(toy, max_steps=2)
    table = jm.tl.evaluate(toy, model, baselines=[])
    assert (table["cells"] == "in-sample").all()
    assert list(table["method"]) == ["jamie", "jamie"]
    assert "lta" not in table
    assert "are in-sample" in capsys.readouterr().err


def test_some_features_of_many(evaluated):
    mdata, model, _ = evaluated
    mdata = mdata.copy()
    jm.tl.evaluate(mdata, model, baselines=[], n_features=10)
    assert mdata["rna"].var["jamie_correlation"].notna().sum() == 10
    chosen = mdata["rna"].var["jamie_correlation"].to_numpy()
    assert_array_equal(mdata["rna"].varm["jamie_scores_protein"]["correlation_jamie"], chosen)
    assert not np.isnan(chosen[10:]).all()
    jm.tl.evaluate(mdata, model, baselines=[], n_features=10)
    assert_array_equal(mdata["rna"].var["jamie_correlation"], chosen)


def test_features_are_matched_by_name(evaluated):
    mdata, model, table = evaluated
    other = MuData({name: adata[:, ::-1].copy() for name, adata in mdata.mod.items()})
    other.obs["jamie_split"] = mdata.obs["jamie_split"].reindex(other.obs_names)
    again = jm.tl.evaluate(other, model, baselines=["ridge"])
    for method in ("jamie", "ridge"):
        for source, target in (("rna", "protein"), ("protein", "rna")):
            assert_allclose(
                row(again, source, target, method)["correlation"],
                row(table, source, target, method)["correlation"],
                atol=0.01,
            )


def test_missing_measurements_are_left_out_of_the_scores(toy):
    toy["protein"].X = toy["protein"].X + np.float32(0.5)
    jm.pp.split(toy, test_fraction=0.5)
    test = np.flatnonzero((toy.obs["jamie_split"].reindex(toy["protein"].obs_names) == "test").to_numpy())
    toy["protein"].X[test[:5], 3] = np.nan
    model = jm.tl.train(toy, max_steps=2)
    jm.tl.evaluate(toy, model, baselines=["ridge"])
    cells = toy["protein"].obs_names[test[5:]]
    measured = pd.Series(toy["protein"].X[:, 3], index=toy["protein"].obs_names)[cells]
    imputed = pd.Series(model.impute(toy, source="rna", target="protein")[:, 3], index=toy["rna"].obs_names)[cells]
    assert_allclose(toy["protein"].var["jamie_correlation"].iloc[3], pearsonr(measured, imputed).statistic, atol=1e-4)


def test_global_random_state_is_left_alone(evaluated):
    mdata, model, _ = evaluated
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    jm.tl.evaluate(mdata.copy(), model)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_fewer_pairs_than_neighbours_leave_the_labels_out_or_say_so(toy):
    jm.pp.split(toy, test_fraction=0.08)
    model = jm.tl.train(toy, max_steps=2)
    try:
        table = jm.tl.evaluate(toy, model, labels="cell_type", baselines=[])
    except ValueError as error:
        assert "jm.pp.split" in str(error)  # noqa: PT017
    else:
        assert len(table) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": "celltype"}, KeyError, "`labels`.*did you mean 'cell_type'"),
        ({"aligners": ["ccaa"]}, ValueError, r"`aligners`.*did you mean 'cca'\?; or it names a slot of every `\.obsm`"),
        ({"baselines": ["kernelridge"]}, ValueError, "`baselines`.*did you mean 'kernel_ridge'"),
    ],
)
def test_unknown_names_get_the_close_ones(evaluated, arguments, error, message):
    mdata, model, _ = evaluated
    with pytest.raises(error, match=message):
        jm.tl.evaluate(mdata, model, **arguments)


def test_aligners_place_the_held_out_cells_beside_the_model(evaluated):
    mdata, model, table = evaluated
    mdata = mdata.copy()
    rng = np.random.default_rng(0)
    for name in ("rna", "protein"):
        mdata[name].obsm["X_mine"] = rng.normal(size=(mdata[name].n_obs, 4))
    baselines = ["mean", "knn", "ridge", "kernel_ridge"]
    found = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=baselines, aligners=["cca", "X_mine"])
    is_aligner = found["method"].isin(["cca", "X_mine"])
    before = found[~is_aligner].reset_index(drop=True).drop(columns="seconds")
    pd.testing.assert_frame_equal(before, table.drop(columns="seconds"), check_dtype=False)
    test = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    x, y = (mdata[m].obsm["X_mine"][mdata[m].obs_names.get_indexer(test)] for m in ("rna", "protein"))
    labels = mdata.obs["cell_type"].reindex(test)
    own = row(found, "rna", "protein", "X_mine")
    assert own["foscttm"] == pytest.approx(jm.metrics.foscttm(x, y))
    assert own["lta"] == jm.metrics.label_transfer_accuracy(x, y, labels, n_neighbors=5)
    assert row(found, "protein", "rna", "cca")["foscttm"] < 0.2 < own["foscttm"]
    assert found.loc[is_aligner, MEASURES].isna().all(axis=None)
    assert row(found, "rna", "protein", "cca")["seconds"] > 0


def test_slots_of_different_widths_cannot_be_compared(evaluated):
    mdata, model, _ = evaluated
    mdata = mdata.copy()
    jm.pp.prepare(mdata)
    with pytest.raises(ValueError, match="as many dimensions of 'X_jamie_input' in every modality"):
        jm.tl.evaluate(mdata, model, aligners=["X_jamie_input"])


def test_too_few_pairs_say_what_to_call(trained):
    mdata, model = trained
    few = mdata[mdata.obs["jamie_split"] == "train"].copy()
    both = few["rna"].obs_names.intersection(few["protein"].obs_names)
    few = few[~few.obs_names.isin(both[2:])].copy()
    with pytest.raises(
        ValueError, match=r"at least 3 pairs of 'rna' and 'protein' to score, found 2; call jm\.pp\.split"
    ):
        jm.tl.evaluate(few, model)


def test_modalities_that_share_no_pairs_are_left_out(capsys):
    mdata = jm.datasets.toy(n_cells=120, share_paired=1)
    third = mdata["protein"].copy()
    third.var_names = [f"third {name}" for name in third.var_names]
    third.obs_names = [f"third {cell}" for cell in third.obs_names]
    chain = MuData({"rna": mdata["rna"].copy(), "protein": mdata["protein"].copy(), "third": third})
    jm.pp.correspondence(chain, modalities=["protein", "third"], pairs=_partners(mdata, third))
    jm.pp.split(chain, rng=0)
    model = jm.tl.train(chain, max_steps=10)
    table = jm.tl.evaluate(chain, model, baselines=[])
    scored = set(zip(table["source"], table["target"], strict=True))
    pairs = {("rna", "protein"), ("protein", "rna"), ("protein", "third"), ("third", "protein")}
    assert scored == pairs | {("rna + protein", "third")}  # partners of cells that have both
    assert "'rna' and 'third' have 0 pairs of cells to score, and are left out" in capsys.readouterr().err


def _partners(mdata, third):
    return pd.DataFrame({"protein": mdata["protein"].obs_names, "third": third.obs_names})


@pytest.mark.parametrize("is_prepared", [True, False])
def test_features_are_taken_to_components_once_a_call(toy, monkeypatch, is_prepared):
    """Other than the few cells that tell whether stored components are those of the values."""
    counted = []
    compute = Preparation.components

    def spied(self, scaled, *given):
        if scaled.shape[0] > 50:
            counted.append(self.kind)
        return compute(self, scaled, *given)

    monkeypatch.setattr(Preparation, "components", spied)
    jm.pp.split(toy)
    if is_prepared:
        jm.pp.prepare(toy)
    counted.clear()
    model = jm.tl.train(toy, max_steps=2)
    assert sorted(counted) == ([] if is_prepared else ["counts", "protein"])
    for verb in (
        lambda: jm.tl.evaluate(toy, model),
        lambda: jm.tl.complete(toy, model),
        lambda: jm.tl.embed(toy, model),
        lambda: jm.tl.knockout(toy, model, source="rna"),
    ):
        counted.clear()
        verb()
        assert sorted(counted) == ["counts", "protein"]
    for verb in (jm.tl.impute, jm.tl.explain):
        counted.clear()
        verb(toy, model, source="rna", target="protein")
        assert counted == ["counts"]


def test_the_gain_over_a_baseline_has_a_standard_error_over_cells(toy):
    jm.pp.split(toy)
    model = jm.tl.train(toy, max_steps=20)
    table = jm.tl.evaluate(toy, model, baselines=["mean", "ridge"])
    for (_, _), rows in table.groupby(["source", "target"]):
        rows = rows.set_index("method")
        assert rows.loc["ridge", "gain"] == pytest.approx(
            rows.loc["jamie", "correlation"] - rows.loc["ridge", "correlation"], abs=1e-6
        )
        assert 0 < rows.loc["ridge", "gain_se"] < 0.5
        assert 0 <= rows.loc["ridge", "p_value"] <= 1
        assert (rows.loc[["jamie", "ridge"], "correlation_se"] > 0).all()
        assert rows.loc["jamie", ["gain", "gain_se", "p_value"]].isna().all()
        assert rows.loc["mean", ["correlation_se", "gain"]].isna().all()


def test_ceilings_and_floors_stand_beside_the_scores(evaluated):
    mdata, _, table = evaluated
    for source, target in (("rna", "protein"), ("protein", "rna")):
        rows = table[(table["source"] == source) & (table["target"] == target)]
        frame = mdata[target].varm[f"jamie_scores_{source}"]
        for limit in ("r_max", "js_floor"):
            assert frame[limit].between(0, 1).all()
            assert rows[limit].to_numpy() == pytest.approx([frame[limit].mean()] * len(rows))
    n = int(row(table, "rna", "protein")["n_cells"])
    x = mdata["protein"].X.astype(np.float64)
    clr = np.log1p(x / np.exp(np.log1p(x).mean(1, keepdims=True)))
    expected = jm.metrics.js_floor(clr, n, n_draws=50)
    assert_allclose(row(table, "rna", "protein")["js_floor"], expected.mean(), atol=0.03)
    assert_allclose(mdata["protein"].varm["jamie_scores_rna"]["r_max"], jm.metrics.max_correlation(
        x, normalise=lambda x: np.log1p(x / np.exp(np.log1p(x).mean(1, keepdims=True))), n_splits=40
    ), atol=0.05)  # fmt: skip
    within = mdata["protein"].varm["jamie_js_distance_rna"]
    kind = mdata.obs["cell_type"].reindex(mdata["protein"].obs_names).to_numpy()
    n_a = int((mdata.obs["cell_type"][mdata.obs["jamie_split"] == "test"] == "type A").sum())
    expected = jm.metrics.js_floor(clr[kind == "type A"], n_a, n_draws=50)
    assert_allclose(within["floor: type A"].mean(), expected.mean(), atol=0.06)


def test_only_counts_have_a_ceiling(toy):
    toy["protein"].X = toy["protein"].X + np.float32(0.5)
    jm.pp.split(toy)
    model = jm.tl.train(toy, max_steps=2)
    table = jm.tl.evaluate(toy, model, baselines=[])
    assert np.isnan(row(table, "rna", "protein")["r_max"])
    assert row(table, "protein", "rna")["r_max"] > 0


def test_alignment_within_labels_and_by_label_beside_chance(evaluated):
    mdata, _, table = evaluated
    test = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    x, y = (pd.DataFrame(mdata[m].obsm["X_jamie"], index=mdata[m].obs_names).loc[test].to_numpy() for m in mdata.mod)
    labels = mdata.obs.loc[test, "cell_type"].astype(str).to_numpy()
    ours = row(table, "rna", "protein")
    assert ours["foscttm_within"] == pytest.approx(jm.metrics.foscttm(x, y, groups=labels), abs=1e-6)
    assert ours["foscttm_within"] > ours["foscttm"]
    macro = jm.metrics.label_transfer_accuracy(x, y, labels, average="macro")
    assert ours["lta_macro"] == pytest.approx(macro)
    _, counts = np.unique(labels, return_counts=True)
    assert ours["lta_chance"] == pytest.approx(counts.max() / len(labels))
    assert ours["lta_macro_chance"] == pytest.approx(1 / len(counts))


@pytest.fixture(scope="module")
def half_told():
    """Cells of one name of which half are known to be the same, and the pairs of the others."""
    mdata = jm.datasets.toy(n_cells=120, share_paired=1)
    names = mdata["rna"].obs_names.to_numpy()
    table = pd.DataFrame({"rna": names, "protein": names})
    jm.pp.correspondence(mdata, pairs=table[::2])
    return mdata, jm.tl.train(mdata, max_steps=30), table


@pytest.mark.parametrize("form", ["table", "matrix", "by pair"])
def test_pairs_that_the_model_was_not_told_are_scored(half_told, form, capsys):
    mdata, model, table = half_told
    n = len(table)
    forms = {
        "table": table[["protein", "rna"]],
        "matrix": sparse.csr_matrix(np.equal.outer(*(mdata[m].obs_names.to_numpy(str) for m in mdata.mod)) * 1.0),
        "by pair": {("protein", "rna"): table[["protein", "rna"]]},
    }
    found = jm.tl.evaluate(mdata, model, pairs=forms[form], baselines=["ridge"])
    assert (found["cells"] == "unknown pairs").all()
    assert (found["n_cells"] == n // 2).all()
    assert f"{n // 2} of the {n} pairs" in capsys.readouterr().err
    cells = table["rna"][1::2]
    x, y = (mdata[m].obsm["X_jamie"][mdata[m].obs_names.get_indexer(cells)] for m in ("rna", "protein"))
    assert row(found, "rna", "protein")["foscttm"] == pytest.approx(jm.metrics.foscttm(x, y), abs=1e-6)
    assert np.isfinite(row(found, "rna", "protein", "ridge")["correlation"])


def all_known(mdata, table):
    jm.pp.correspondence(mdata, pairs=table)


def none_known(mdata, table):
    del table
    for key in [key for key in mdata.obsp if key.startswith("jamie_known")]:
        del mdata.obsp[key]
    mdata["protein"].obs_names = [f"other-{name}" for name in mdata["protein"].obs_names]


@pytest.mark.parametrize("change", [all_known, none_known])
@pytest.mark.parametrize("saved", [False, True])
def test_what_the_model_was_told_is_not_what_is_known_now(half_told, change, saved, tmp_path):
    mdata, model, table = half_told
    before = jm.tl.evaluate(mdata.copy(), model, pairs=table, baselines=[])
    if saved:
        model.save(tmp_path / "model")
        model = jm.JAMIE.load(tmp_path / "model")
    other = mdata.copy()
    change(other, table)
    if change is none_known:
        other = type(mdata)({name: other[name] for name in other.mod})
        table = table.assign(protein="other-" + table["protein"])
    found = jm.tl.evaluate(other, model, pairs=table, baselines=[])
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), before.drop(columns="seconds"))


def test_an_adapted_model_was_told_the_pairs_that_it_adapted_to():
    mdata, new = jm.datasets.toy(n_cells=100), jm.datasets.toy(rng=1)
    model = jm.JAMIE(max_steps=20).fit(mdata)
    names = new["rna"].obs_names.intersection(new["protein"].obs_names)
    table = pd.DataFrame({"rna": names, "protein": names})
    jm.tl.evaluate(new.copy(), model, pairs=table, baselines=[])
    adapted = model.adapt(new)
    assert adapted.seen_["rna"].partners.sum() >= model.seen_["rna"].partners.sum()
    if adapted.seen_["rna"].partners.sum() > model.seen_["rna"].partners.sum():
        with pytest.raises(ValueError, match="found 0; pass `pairs`"):
            jm.tl.evaluate(new, adapted, pairs=table, baselines=[])


def test_given_pairs_of_held_out_cells_are_called_so(trained):
    mdata, model = trained
    names = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)
    found = jm.tl.evaluate(mdata, model, pairs=pd.DataFrame({"rna": names, "protein": names}), baselines=[])
    expected = jm.tl.evaluate(mdata, model, baselines=[])
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), expected.drop(columns="seconds"))


def test_pairs_that_were_told_or_do_not_fit_are_refused(half_told):
    mdata, model, table = half_told
    with pytest.raises(
        ValueError, match=r"at least 3 pairs .*found 0; pass `pairs` that jm\.pp\.correspondence did not"
    ):
        jm.tl.evaluate(mdata, model, pairs=table[::2])
    with pytest.raises(ValueError, match=r"expected `pairs` by two modalities.*found 'rna'; pass pairs=\{\('rna'"):
        jm.tl.evaluate(mdata, model, pairs={"rna": table})
    with pytest.raises(ValueError, match="found 1 unknown of 1"):
        jm.tl.evaluate(mdata, model, pairs=pd.DataFrame({"rna": ["nobody"], "protein": ["cell1"]}))


def test_labels_that_no_cell_of_a_modality_has_are_named(trained):
    mdata, model = trained
    mdata["protein"].obs["type"] = np.nan
    mdata["rna"].obs["type"] = "a"
    with pytest.raises(ValueError, match=r"expected labels 'type' of the \d+ held-out cells of 'protein' .*found none"):
        jm.tl.evaluate(mdata, model, labels="type", baselines=[])


def test_labels_that_no_scored_cell_has_are_named_and_any_number_of_labels_is_scored(trained):
    mdata, model = trained
    is_test = mdata.obs["jamie_split"] == "test"
    mdata.obs["seen"] = np.where(is_test, None, "a")
    mdata.obs["each"] = mdata.obs_names.astype(str)
    with pytest.raises(ValueError, match="expected labels 'seen' of the"):
        jm.tl.evaluate(mdata, model, labels="seen", baselines=[])
    assert (jm.tl.evaluate(mdata, model, labels="each", baselines=[])["lta_chance"] < 0.2).all()  # without a warning


def test_several_partners_of_a_cell_are_counted(half_told, capsys):
    mdata, model, table = half_told
    more = pd.concat([table, pd.DataFrame({"rna": [table["rna"].iloc[1]], "protein": [table["protein"].iloc[3]]})])
    jm.tl.evaluate(mdata, model, pairs=more, baselines=[])
    assert f"of the {len(table) + 1} pairs" in (said := capsys.readouterr().err)
    assert "and 1, as their cell has a likelier one" in said


def test_aligners_and_baselines_without_a_training_pair_are_left_out_and_named(trained, capsys):
    mdata, model = trained
    held_out = mdata[mdata.obs["jamie_split"] == "test"].copy()
    capsys.readouterr()
    jm.settings.verbosity = "info"
    table = jm.tl.evaluate(held_out, model, baselines=["mean"], aligners=["cca"])
    assert set(table["method"]) == {"jamie"}
    said = capsys.readouterr().err
    assert "'cca' is left out: no pair of 'rna' and 'protein' is here to align them by" in said
    assert "no pair of 'rna' and 'protein' that the model learned from is here: there are no baselines" in said
