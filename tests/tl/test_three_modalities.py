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
from jamie.metrics import feature_correlation, is_within
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
    is_single = table["source"].isin(list(mdata.mod))  # two modalities are aligned, not three
    assert finite(table.loc[(table["method"] == "jamie") & is_single, "foscttm"])
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


# several sources at once


@pytest.fixture(scope="module")
def judged():
    """Cells of all patterns, of which most have everything, and a model that held out some."""
    mdata = measured(PATTERNS, {NAMES: 150}, holes=True)
    jm.pp.split(mdata, test_fraction=0.3)
    model = jm.tl.train(mdata, recipe=RECIPE)
    return mdata, model


def test_evaluation_has_each_target_from_all_others(judged):
    mdata, model = judged
    mdata = mdata.copy()
    baselines = ["ridge", "supervised_kernel_ridge"]
    table = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=baselines)
    joint = table[table["source"].str.contains("+", regex=False)]
    assert list(joint["source"].unique()) == ["ephys + morph", "rna + morph", "rna + ephys"]
    cells = model.open(mdata)
    for (source, target), rows in joint.groupby(["source", "target"], sort=False):
        first, second = source.split(" + ")
        assert list(rows["method"]) == ["jamie", f"jamie from {first}", f"jamie from {second}", *baselines]
        # the oracle: held-out cells that have all three, by name
        names = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
        for name in NAMES:
            names = names[names.isin(mdata[name].obs_names)]
        assert set(rows["n_cells"]) == {len(names)}
        assert set(rows["cells"]) == {"held-out"}
        at = {name: cells.cells(name).get_indexer(names) for name in NAMES}
        truth = cells.measured(target, at[target], np.arange(9))
        inputs = {name: cells.inputs(name)[at[name]] for name in (first, second)}
        scores = rows.set_index("method")["correlation"]
        for method, imputed in {
            "jamie": model.translate_jointly(inputs, target),
            f"jamie from {first}": model.translate(inputs[first], first, target),
        }.items():
            assert scores[method] == pytest.approx(np.nanmean(feature_correlation(truth, imputed)), abs=1e-6)
        of = jm.get.scores(mdata, source=[second, first], target=target)
        assert list(of.correlation) == list(rows["method"])
        assert of.correlation["jamie"].mean() == pytest.approx(scores["jamie"])
    single = table[~table["source"].str.contains("+", regex=False)]
    assert len(single) == 6 * 3
    assert single["foscttm"].notna().sum() == 6
    assert joint["foscttm"].isna().all()
    assert "jamie_scores_rna + ephys" in mdata["morph"].varm


def test_one_source_is_scored_as_before_whatever_comes_beside(judged):
    """Rows of two modalities are those of an evaluation of these alone."""
    mdata, model = judged
    mdata = mdata.copy()
    table = jm.tl.evaluate(mdata, model, baselines=["ridge"])
    pair = MuData({name: mdata[name].copy() for name in ("rna", "ephys")})
    alone = jm.tl.evaluate(pair, model, baselines=["ridge"])
    both = table[table["source"].isin(["rna"]) & table["target"].isin(["ephys"])]
    columns = ["source", "target", "method", "cells", "n_cells", "correlation", "foscttm"]
    pd.testing.assert_frame_equal(
        both[columns].reset_index(drop=True), alone[alone["source"] == "rna"][columns].reset_index(drop=True)
    )


def test_true_pairs_of_two_modalities_have_no_rows_of_three(judged):
    mdata, model = judged
    names = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    names = names[names.isin(mdata["rna"].obs_names) & names.isin(mdata["ephys"].obs_names)]
    pairs = {("rna", "ephys"): pd.DataFrame({"rna": names, "ephys": names})}
    table = jm.tl.evaluate(mdata.copy(), model, pairs=pairs, baselines=[])
    assert set(table["source"]) == {"rna", "ephys"}


def test_diagnosis_judges_all_sources_together_and_beside_the_best_alone(judged):
    mdata, model = judged
    table = jm.tl.diagnose(mdata.copy(), model, labels="cell_type")
    joint = table[table["source"].str.contains("+", regex=False)]
    assert set(joint["source"]) == {"ephys + morph", "rna + morph", "rna + ephys"}
    for _, rows in joint.groupby("target"):
        assert list(rows["measure"]) == ["imputation", "coverage", "confidence", "novelty"]
        assert "alone" in rows["finding"].iloc[0]
    scored = jm.tl.evaluate(mdata.copy(), model, baselines=[])
    for row in joint[joint["measure"] == "imputation"].itertuples():
        of = scored[(scored["source"] == row.source) & (scored["target"] == row.target)]
        of = of.set_index("method")["correlation"]
        assert row.value == pytest.approx(of["jamie"], abs=1e-6)
        assert row.reference == pytest.approx(of.drop("jamie").max(), abs=1e-6)


def test_coverage_of_all_sources_together_is_counted(judged):
    mdata, model = judged
    table = jm.get.calibration(mdata, model, source=["rna", "ephys"], target="morph", levels=[0.8], groupby="cell_type")
    everyone = table[table["group"] == "all"].iloc[0]
    assert everyone["source"] == "rna + ephys"
    mdata = mdata.copy()
    jm.tl.impute(mdata, model, source=["rna", "ephys"], target="morph", interval=0.8)
    pair = jm.get.comparison(mdata, source=["rna", "ephys"], target="morph")
    has_both = pair.measured.index.isin(mdata["rna"].obs_names) & pair.measured.index.isin(mdata["ephys"].obs_names)
    x, lower, upper = (
        frame.to_numpy()[has_both] for frame in (pair.measured, pair.beside["lower"], pair.beside["upper"])
    )
    assert everyone["n_cells"] == has_both.sum()
    assert everyone["coverage"] == pytest.approx(np.nanmean(is_within(x, lower, upper)), abs=1e-6)
    assert jm.pl.calibration(table).get_title().startswith("rna + ephys → morph")


def test_the_report_shows_what_is_imputed_from_both(judged, tmp_path):
    mdata, model = judged
    mdata = mdata.copy()
    jm.tl.evaluate(mdata, model, baselines=["ridge"])
    jm.tl.diagnose(mdata, model)
    jm.tl.impute(mdata, model, source=["rna", "ephys"], target="morph", interval=0.8)
    figure = jm.pl.metrics(mdata, source=["ephys", "rna"], target="morph")
    assert "FOSCTTM" not in figure.get_suptitle()
    page = jm.pl.report(mdata, model, tmp_path / "report.html", basis="pca").read_text()
    assert page.count("rna + ephys → morph") >= 3  # verdicts, scores, features
    assert "jamie from ephys" in page
    assert "median confidence" in page
