"""SHAP values as bars, swarms and waterfalls, against the slots and what the model imputes."""

from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.pl._waterfall import number, tick

WHAT = {"source": "rna", "target": "protein"}
THIRD = {**WHAT, "feature": "protein3"}
SLOT = "jamie_shap_protein"
LAYER = f"{SLOT}_protein3"
UP, DOWN = "#D55E00", "#0072B2"


@pytest.fixture(scope="module")
def explained_once(trained_session):
    mdata, model = trained_session
    mdata = mdata.copy()
    few = {"source": "rna", "n_background": 10}
    jm.tl.explain(mdata, model, **few, target="protein", features=["protein3", "protein1"])
    jm.tl.explain(mdata, model, **few, labels="cell_type", features=["type A"])
    jm.tl.explain(mdata, model, **few, features=["latent2"])
    return mdata


@pytest.fixture
def explained(explained_once):
    return explained_once.copy()


def ticks(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def ends(ax):
    """From where to where the bars reach, lowest first."""
    return np.array([[bar.get_x(), bar.get_x() + bar.get_width()] for bar in ax.patches])


def test_bars_are_the_largest_means(explained, unchanged):
    ax = jm.pl.importance(unchanged(explained), **THIRD, n_top=7)
    means = explained["rna"].varm[SLOT]["protein3"]
    largest = means.sort_values(ascending=False)[:7]
    assert ticks(ax) == list(largest.index)
    assert_allclose([bar.get_width() for bar in ax.patches], largest)
    heights = [bar.get_y() for bar in ax.patches]
    assert ax.yaxis_inverted()
    assert heights == sorted(heights)  # the first is on top
    percent = round(100 * largest.sum() / means.sum())
    assert ax.get_title() == f"rna → protein: protein3\n7 of 40 features, {percent} % of the sum; 180 cells"
    assert ax.get_xlabel() == "mean |SHAP value| for protein3\n(centred log-ratio)"


def test_all_features_of_the_target_count_alike(explained, unchanged):
    explained["rna"].varm[SLOT]["protein1"] *= 1000
    ax = jm.pl.importance(unchanged(explained), **WHAT)
    frame = explained["rna"].varm[SLOT]
    shares = (frame["protein3"] / frame["protein3"].sum() + frame["protein1"] / frame["protein1"].sum()) / 2
    largest = shares.sort_values(ascending=False)[:15]
    assert ticks(ax) == list(largest.index)
    assert_allclose([bar.get_width() for bar in ax.patches], 100 * largest, rtol=1e-5)
    assert ax.get_xlabel() == "share of the explanation (%),\nmean over 2 features of protein"
    assert ax.get_title().startswith("rna → protein\n15 of 40 features, ")


def test_what_is_constant_has_no_share(explained):
    expected = jm.pl.importance(explained, **THIRD, n_top=3)
    explained["rna"].varm[SLOT]["protein1"] = np.float32(0)
    assert ticks(jm.pl.importance(explained, **WHAT, n_top=3)) == ticks(expected)
    explained["rna"].varm[SLOT] *= 0
    ax = jm.pl.importance(explained, **WHAT, n_top=3)
    assert [bar.get_width() for bar in ax.patches] == [0, 0, 0]
    assert "0 % of the sum" in ax.get_title()


def test_labels_and_latents_have_their_units(explained):
    for kind, labels, latents in (
        ("bars", "mean |SHAP value| for type A\n(logit)", "mean |SHAP value| for latent2"),
        ("beeswarm", "SHAP value for type A\n(logit)", "SHAP value for latent2"),
        ("waterfall", "score of type A\n(logit)", "latent2"),
    ):
        ax = jm.pl.importance(explained, source="rna", target="cell_type", feature="type A", kind=kind)
        assert ax.get_xlabel() == labels
        assert ax.get_title().startswith("rna → cell_type: type A\n")
        ax = jm.pl.importance(explained, source="rna", target="latent", feature="latent2", kind=kind)
        assert ax.get_xlabel() == latents
    assert "mean over 1 labels of" in jm.pl.importance(explained, source="rna", target="cell_type").get_xlabel()
    assert "mean over 1 latent dim" in jm.pl.importance(explained, source="rna", target="latent").get_xlabel()


@pytest.mark.parametrize("prepared", [False, True])
def test_a_swarm_has_the_values_of_the_cells(explained, unchanged, prepared):
    if prepared:
        jm.pp.prepare(explained)
    ax = jm.pl.importance(unchanged(explained), **THIRD, kind="beeswarm", n_top=6)
    largest = explained["rna"].varm[SLOT]["protein3"].sort_values(ascending=False).index[:6]
    assert ticks(ax) == list(largest)
    (points,) = ax.collections
    x, y = np.asarray(points.get_offsets()).T.reshape(2, 6, -1)
    colors = np.asarray(points.get_array()).reshape(6, -1)
    data = jm.get.shap_values(explained, **THIRD).data
    for row, name in enumerate(largest):
        j = explained["rna"].var_names.get_loc(name)
        values = explained["rna"].layers[LAYER][:, j]
        assert_array_equal(np.sort(x[row]), np.sort(values))
        assert np.abs(y[row] - row).max() <= 0.4 + 1e-9
        low, high = np.percentile(data[:, j], [5, 95])
        shares = np.clip((data[:, j] - low) / (high - low), 0, 1)
        assert_allclose(colors[row][np.lexsort((colors[row], x[row]))], shares[np.lexsort((shares, values))], atol=1e-6)
    assert points.get_clim() == (0, 1)
    assert points.get_rasterized()
    assert ax.get_title() == "rna → protein: protein3\n180 cells"
    bar = ax.figure.axes[1]
    assert [label.get_text() for label in bar.get_yticklabels()] == ["low", "high"]
    assert bar.get_ylabel() == "value of the feature"


def test_points_at_one_place_are_set_beside_each_other(explained):
    explained["rna"].layers[LAYER][:, 0] = 9
    ax = jm.pl.importance(explained, **THIRD, kind="beeswarm", n_top=1)
    x, y = np.asarray(ax.collections[0].get_offsets()).T
    assert set(x) == {9}
    assert len(set(y)) == 180
    assert_allclose([y.min(), y.max()], [-0.4, 0.4], atol=0.01)
    assert abs(np.median(y)) < 0.01


def test_few_cells_stay_near_their_row(explained):
    part = explained[explained["rna"].obs_names[:3]].copy()
    part["rna"].layers[LAYER][:, 0] = 9
    ax = jm.pl.importance(part, **THIRD, kind="beeswarm", n_top=1)
    assert_allclose(np.sort(np.asarray(ax.collections[0].get_offsets())[:, 1]), [-0.05, 0, 0.05])


def test_rare_values_are_told_apart_and_what_does_not_vary_is_grey(explained):
    rna = explained["rna"]
    rna.X = rna.X.toarray()
    rna.layers[LAYER][:, :4] = 50 - np.arange(4)
    rna.X[:, :4] = 0
    rna.X[:1, 1], rna.X[:4, 2], rna.X[:5, 3] = 7, 7, np.nan
    ax = jm.pl.importance(explained, **THIRD, kind="beeswarm", n_top=4)
    colors = ax.collections[0].get_array().reshape(4, -1)
    missing = np.ma.getmaskarray(np.ma.masked_invalid(colors))
    assert_array_equal(missing.sum(1), [180, 0, 0, 180])
    assert_array_equal(np.sort(colors[1])[-2:], [0, 1])
    assert_array_equal(np.sort(colors[2])[-5:], [0, 1, 1, 1, 1])
    ax.figure.canvas.draw()
    assert not np.ma.getmaskarray(ax.collections[0].get_offsets()).any()
    assert (ax.collections[0].get_facecolors()[:180, :3] == to_rgba("0.7")[:3]).all()


def test_a_waterfall_leads_from_the_base_to_what_was_imputed(explained, trained_session, unchanged):
    _, model = trained_session
    ax = jm.pl.importance(unchanged(explained), **THIRD, kind="waterfall", n_top=6)
    rna = explained["rna"]
    imputed = model.impute(explained, **WHAT, features=["protein3"])[:, 0]
    base = rna.uns[SLOT]["base"][0]
    i = np.abs(imputed - base).argmax()
    reach = ends(ax)
    assert len(reach) == 7
    assert reach[0, 0] == pytest.approx(base, abs=1e-5)
    assert reach[-1, 1] == pytest.approx(imputed[i], abs=1e-3)
    assert_allclose(reach[1:, 0], reach[:-1, 1], atol=1e-6)
    values = rna.layers[LAYER][i]
    order = np.argsort(-np.abs(values))
    assert_allclose(np.diff(reach, axis=1)[:0:-1, 0], values[order[:6]], atol=1e-5)
    assert np.diff(reach)[0, 0] == pytest.approx(values[order[6:]].sum(), abs=1e-5)
    x = rna.X.toarray()[i]
    assert ticks(ax)[0] == "34 other features"
    assert ticks(ax)[:0:-1] == [f"{rna.var_names[j]} = {x[j]:.0f}" for j in order[:6]]
    assert ax.get_title().splitlines()[:2] == ["rna → protein: protein3", rna.obs_names[i]]
    f_of_x, e_of_f = (
        float(part.split(" = ")[1].replace("−", "-")) for part in ax.get_title().splitlines()[2].split(", ")
    )
    assert (f_of_x, e_of_f) == (pytest.approx(imputed[i], rel=0.01), pytest.approx(base, rel=0.01))
    assert ax.get_xlabel() == "imputed protein3\n(centred log-ratio)"


def test_bars_of_a_waterfall_have_the_colour_and_number_of_their_sign(explained):
    ax = jm.pl.importance(explained, **THIRD, kind="waterfall", cell="cell1", n_top=39)
    steps = np.diff(ends(ax))[:, 0]
    assert len(set(np.sign(steps))) == 2
    numbers = [text for text in ax.texts if text.get_text()[0] in "+−"]
    for bar, step, text in zip(ax.patches, steps, numbers, strict=True):
        assert bar.get_facecolor() == to_rgba(UP if step > 0 else DOWN)
        assert float(text.get_text().replace("−", "-")) == pytest.approx(step, abs=0.006)
        assert text.get_text()[0] == ("+" if step > 0 else "−")
        assert text.xy[0] == pytest.approx(bar.get_x() + bar.get_width())
        assert text.get_ha() == ("left" if step > 0 else "right")
    assert ticks(ax)[0] == "1 other feature"
    assert "\ncell1\n" in ax.get_title()


def test_without_a_rest_all_bars_are_features(explained):
    ax = jm.pl.importance(explained, **THIRD, kind="waterfall", n_top=99)
    assert len(ax.patches) == 40
    assert not any("other" in label for label in ticks(ax))
    assert ends(ax)[0, 0] == pytest.approx(explained["rna"].uns[SLOT]["base"][0], abs=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_cell_furthest_from_the_base_is_drawn_either_way(explained, sign):
    rna = explained["rna"]
    rna.layers[LAYER][[17, 23]] = [[sign], [-0.9 * sign]]
    ax = jm.pl.importance(explained, **THIRD, kind="waterfall")
    assert rna.obs_names[17] in ax.get_title().splitlines()
    assert ends(ax)[-1, 1] == pytest.approx(rna.uns[SLOT]["base"][0] + sign * 40, abs=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_rest_that_dwarfs_all_others_is_cut(explained, sign):
    rna = explained["rna"]
    rna.layers[LAYER][0] = [sign * 0.2] * 2 + [sign * 0.1] * 38
    ax = jm.pl.importance(explained, **THIRD, kind="waterfall", n_top=2, cell=rna.obs_names[0])
    base = rna.uns[SLOT]["base"][0]
    reach, (low, high) = ends(ax), ax.get_xlim()
    assert_allclose(reach[:, 1] - base, sign * np.array([3.8, 4.0, 4.2]), atol=1e-5)
    assert not low <= base <= high
    assert min(abs(end - edge) for edge in (low, high) for end in reach[:, 1]) > 0.05
    assert ("← E[f]" if sign > 0 else "E[f] →") in [text.get_text() for text in ax.texts]
    uncut = jm.pl.importance(explained, **THIRD, kind="waterfall", n_top=30, cell=rna.obs_names[0])
    assert uncut.get_xlim()[0] < base < uncut.get_xlim()[1]
    assert "E[f]" in [text.get_text() for text in uncut.texts]


def test_a_cell_without_any_effect_is_drawn(explained):
    explained["rna"].layers[LAYER][0] = 0
    ax = jm.pl.importance(explained, **THIRD, kind="waterfall", cell=explained["rna"].obs_names[0])
    ax.figure.canvas.draw()
    assert_array_equal(np.diff(ends(ax)), 0)
    ax = jm.pl.importance(explained[explained["rna"].obs_names[:1]], **THIRD, kind="beeswarm")
    ax.figure.canvas.draw()


def test_measured_values_are_on_the_imputed_scale_or_missing(explained):
    rna = explained["rna"]
    rna.layers[LAYER][0, :2] = [90, 80]
    jm.pp.prepare(explained)
    ax = jm.pl.importance(explained, **THIRD, kind="waterfall", cell=rna.obs_names[0], n_top=2)
    measured = jm.get.shap_values(explained, **THIRD).data[0]
    assert ticks(ax)[1:] == [f"{rna.var_names[j]} = {number(measured[j])}" for j in (1, 0)]
    del rna.uns["jamie_input"]
    rna.X = rna.X.toarray()
    rna.X[0, 1] = np.nan
    ax = jm.pl.importance(explained, **THIRD, kind="waterfall", cell=rna.obs_names[0], n_top=2)
    assert ticks(ax)[1] == f"{rna.var_names[1]} = missing"


@pytest.mark.parametrize("kind", ["bars", "beeswarm", "waterfall"])
def test_it_is_drawn_on_the_axes_that_are_given(explained, kind):
    figure, axes = plt.subplots(1, 2, figsize=(7, 3))
    state, parameters = np.random.get_state()[1].copy(), dict(mpl.rcParams)  # noqa: NPY002
    assert jm.pl.importance(explained, **THIRD, kind=kind, ax=axes[1]) is axes[1]
    assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert dict(mpl.rcParams) == parameters
    assert tuple(figure.get_size_inches()) == (7, 3)
    assert plt.get_fignums() == [figure.number]
    assert not axes[0].has_data()


@pytest.mark.parametrize("kind", ["bars", "beeswarm", "waterfall"])
def test_nothing_is_clipped_at_the_width_of_a_column(explained, kind):
    names = [f"A rather long name of gene number {i}" for i in range(40)]
    explained["rna"].var_names = names
    explained["rna"].varm[SLOT].index = names
    ax = jm.pl.importance(explained, **THIRD, kind=kind)
    figure = ax.figure
    figure.canvas.draw()
    assert figure.get_size_inches()[0] == pytest.approx(9 / 2.54, abs=0.01)
    seen = [*ax.get_yticklabels(), ax.title, ax.xaxis.label, *ax.texts]
    boxes = [text.get_window_extent() for text in seen if text.get_text()]
    assert min(box.x0 for box in boxes) >= 0
    assert max(box.x1 for box in boxes) <= figure.bbox.width
    rows = sorted((label.get_window_extent() for label in ax.get_yticklabels()), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(rows))


def test_sparse_and_dense_look_alike(explained):
    swarms = []
    for container in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_matrix.toarray):
        explained["rna"].X = container(sparse.csr_matrix(explained["rna"].X))
        swarms.append(jm.pl.importance(explained, **THIRD, kind="beeswarm").collections[0])
    for swarm in swarms[1:]:
        assert_array_equal(swarm.get_offsets(), swarms[0].get_offsets())
        assert_array_equal(swarm.get_array(), swarms[0].get_array())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "beeswarms"}, ValueError, r"`kind`.*did you mean 'beeswarm'"),
        ({"feature": "protein33"}, KeyError, r"`feature`.*did you mean 'protein3'"),
        (
            {"feature": "protein4"},
            KeyError,
            r"call jm\.tl\.explain\(mdata, model, source='rna', target='protein', features=\['protein4'\]\)",
        ),
        (
            {"feature": "protein1", "kind": "waterfall"},
            KeyError,
            r"layers\['jamie_shap_protein_protein1'\].*features=\['protein1'\]\)",
        ),
        (
            {"feature": None, "kind": "beeswarm"},
            KeyError,
            r"`feature` for values by cell, one of those that were kept: \['protein3'\], found None; call "
            r"jm\.tl\.explain\(mdata, model, source='rna', target='protein', features=\[\.\.\.\]\)",
        ),
        ({"kind": "waterfall", "cell": "cel1"}, KeyError, r"`cell`.*did you mean 'cell1'"),
        ({"cell": "cell1"}, ValueError, r"kind='waterfall' beside `cell`, found kind='bars'"),
        ({"n_top": 0}, ValueError, "`n_top` of at least 1, found 0"),
        ({"target": "protien"}, KeyError, r"`target`.*did you mean 'protein'"),
        ({"source": "protein", "target": "rna"}, KeyError, r"call jm\.tl\.explain\(.*source='protein', target='rna'\)"),
    ],
)
def test_what_is_not_there_is_said_and_nothing_is_drawn(explained, unchanged, arguments, error, message):
    del explained["rna"].layers[f"{SLOT}_protein1"]
    with pytest.raises(error, match=message):
        jm.pl.importance(unchanged(explained), **{**THIRD, **arguments})
    assert plt.get_fignums() == []


def test_numbers_and_names_are_short():
    shown = {0: "0", 3.14159: "3.14", -40.94: "−40.9", 1234.4: "1,234", 0.000222: "0.000222", 3e-9: "3.00e−09"}
    assert {value: number(value) for value in shown} == shown
    assert number(np.nan) == "missing"
    assert tick("Pvalb", "3.2") == "Pvalb = 3.2"
    assert tick("chr11_113791905_113792257", "1") == "chr11_113791905_113792257 = 1"
    assert tick("Membrane time constant (ms)", "9.5") == "Membrane time constant\n(ms) = 9.5"
    assert tick("a" * 60) == f"{'a' * 19}…{'a' * 6}\n{'a' * 13}"
