"""Names are drawn as they are: a ``$`` in them opens no formula, in any plot."""

from __future__ import annotations

import inspect

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text
from mudata import MuData

import jamie as jm
from jamie.pl._style import with_plain_names

DIRECTION = {"source": "rna$\\bad", "target": "$protein$"}
PLOTS = {
    "alignment": DIRECTION,
    "distributions": {**DIRECTION, "groupby": "$type$"},
    "embedding": {"color": "$type$", "basis": "pca"},
    "history": {},
    "imputation": DIRECTION,
    "importance": DIRECTION,
    "js_distances": {**DIRECTION, "groupby": "$type$"},
    "knockout": {**DIRECTION, "measure": "lta"},
    "metrics": DIRECTION,
}


@pytest.fixture(scope="module")
def hostile():
    toy = jm.datasets.toy(n_cells=90)
    mods = {}
    for name, new in zip(("rna", "protein"), DIRECTION.values(), strict=True):
        adata = toy[name].copy()
        adata.var_names = [f"$\\frac{i}$ {feature}" for i, feature in enumerate(adata.var_names)]
        adata.obs["$type$"] = adata.obs["cell_type"].map(lambda label: f"$\\{label}$").astype("category")
        mods[new] = adata
    mdata = MuData(mods)
    jm.pp.split(mdata)
    model = jm.tl.train(mdata, max_steps=5)
    jm.tl.impute(mdata, model, **DIRECTION)
    jm.tl.evaluate(mdata, model, labels="$type$", baselines=["ridge"])
    jm.tl.explain(mdata, model, **DIRECTION, n_cells=20, n_background=10)
    jm.tl.knockout(mdata, model, **DIRECTION, labels="$type$", n_cells=60)
    return mdata, model


@pytest.mark.parametrize("name", PLOTS)
def test_names_with_a_dollar_are_drawn(hostile, name):
    drawn = getattr(jm.pl, name)(hostile[0], **PLOTS[name])
    figure = drawn if hasattr(drawn, "savefig") else drawn.figure
    figure.canvas.draw()
    assert not any(text.get_parse_math() for text in figure.findobj(Text) if "$" in text.get_text())
    plt.close("all")


def test_the_report_draws_them_too(hostile, tmp_path):
    path = jm.pl.report(*hostile, tmp_path / "report.html", labels="$type$", basis="pca")
    assert "$protein$" in path.read_text(encoding="utf-8")


def test_every_plot_does_so_and_leaves_the_setting_alone():
    public = {name for name in jm.pl.__all__ if inspect.isfunction(getattr(jm.pl, name))}
    assert all(hasattr(getattr(jm.pl, name), "__wrapped__") for name in public)
    assert mpl.rcParams["text.parse_math"]


def test_what_a_figure_sets_for_the_session_stays():
    """The first figure of a notebook makes matplotlib interactive, without which later ones are not shown."""
    before = mpl.is_interactive()
    try:
        with_plain_names(mpl.interactive)(not before)
        assert mpl.is_interactive() is not before
        assert mpl.rcParams["text.parse_math"]
    finally:
        mpl.interactive(before)
