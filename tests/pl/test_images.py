"""Every kind of figure looks as it did: compared with a stored picture, both without text, which fonts draw apart."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
from matplotlib import ft2font, rc_context
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

import jamie as jm

STORED = Path(__file__).parent / "images"
OF_PICTURES = (STORED / "versions.txt").read_text(encoding="utf-8").strip()
TOLERANCE = 6  # root mean square over pixels of 0 to 255
DIRECTION = {"source": "rna", "target": "protein"}
SHAP = {**DIRECTION, "feature": "protein3"}
FEATURES = ["protein1", "protein3", "protein5", "protein7"]


@pytest.fixture(scope="module")
def toy_with_everything(trained_session):
    mdata, model = trained_session
    mdata = mdata.copy()
    jm.pp.prepare(mdata)
    jm.tl.impute(mdata, model, **DIRECTION)
    jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["knn", "ridge"], aligners=["cca"])
    jm.tl.explain(mdata, model, **DIRECTION, features=["protein3"])
    jm.tl.knockout(mdata, model, **DIRECTION)
    jm.tl.knockout(
        mdata, model, **DIRECTION, groups={"first": [f"gene{i}" for i in range(1, 6)], "second": ["gene9", "gene10"]}
    )
    jm.pp.infer_correspondence(mdata)
    return mdata


@pytest.fixture(scope="module")
def linked():
    mdata = jm.datasets.multiome(n_cells=120, n_genes=20, n_peaks=80)
    model = jm.tl.train(mdata, max_steps=20)
    jm.tl.links(mdata, model, genes="rna", regions="atac")
    jm.tl.knockout_by_distance(mdata, model, genes="rna", regions="atac")
    return mdata


def drawn_with():
    return f"matplotlib {matplotlib.__version__}, FreeType {ft2font.__freetype_version__}"


OF_TOY = {
    "embedding_before": lambda mdata: jm.pl.embedding(mdata, color="cell_type", basis="pca", use_rep="X_jamie_input"),
    "embedding_after": lambda mdata: jm.pl.embedding(mdata, color="cell_type", basis="pca"),
    "history": lambda mdata: jm.pl.history(mdata),
    "imputation": lambda mdata: jm.pl.imputation(mdata, **DIRECTION, features=FEATURES),
    "distributions": lambda mdata: jm.pl.distributions(mdata, **DIRECTION, groupby="cell_type", features=FEATURES),
    "js_distances": lambda mdata: jm.pl.js_distances(mdata, **DIRECTION, groupby="cell_type"),
    "calibration": lambda mdata: jm.pl.calibration(
        jm.get.calibration(mdata, jm.tl.train(mdata.copy(), max_steps=20), **DIRECTION, groupby="cell_type")
    ),
    "reliability": lambda mdata: jm.pl.reliability(
        jm.get.reliability(
            jm.tl.transfer_labels(mdata, labels="cell_type", **DIRECTION, copy=True), labels="cell_type", **DIRECTION
        )
    ),
    "metrics": lambda mdata: jm.pl.metrics(mdata, **DIRECTION, against="ridge"),
    "alignment": lambda mdata: jm.pl.alignment(mdata, **DIRECTION),
    "importance_bars": lambda mdata: jm.pl.importance(mdata, **SHAP),
    "importance_beeswarm": lambda mdata: jm.pl.importance(mdata, **SHAP, kind="beeswarm"),
    "importance_waterfall": lambda mdata: jm.pl.importance(mdata, **SHAP, kind="waterfall"),
    "knockout": lambda mdata: jm.pl.knockout(mdata, **DIRECTION, n_top=8),
    "knockout_groups": lambda mdata: jm.pl.knockout(mdata, **DIRECTION, groups=True),
    "correspondence": lambda mdata: jm.pl.correspondence(mdata, labels="cell_type"),
}
OF_LINKED = {
    "links": lambda mdata: jm.pl.links(mdata),
    "knockout_by_distance": lambda mdata: jm.pl.knockout_by_distance(mdata),
}


def assert_looks_as_stored(drawn, name, folder):
    figure = drawn if isinstance(drawn, Figure) else drawn.figure
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the room that text takes is kept
    for text in figure.findobj(Text):
        text.set_visible(False)
    stored, found = STORED / f"{name}.png", folder / f"{name}.png"
    figure.savefig(found, dpi=60, metadata={"Software": None})
    if drawn_with() != OF_PICTURES:
        pytest.skip(f"drawn, not compared: the pictures are of {OF_PICTURES}, this is {drawn_with()}")
    assert stored.is_file(), f"no picture to compare with; look at {found} and store it as {stored}"
    difference = compare_images(stored, found, TOLERANCE)
    assert difference is None, f"{difference}\nif this is meant, store {found} as {stored}"


@pytest.fixture(autouse=True)
def plain_style():
    with rc_context({"font.family": "DejaVu Sans"}):
        yield


@pytest.mark.parametrize("name", OF_TOY)
def test_picture_of_cells(name, toy_with_everything, tmp_path):
    assert_looks_as_stored(OF_TOY[name](toy_with_everything.copy()), name, tmp_path)


@pytest.mark.parametrize("name", OF_LINKED)
def test_picture_of_links(name, linked, tmp_path):
    assert_looks_as_stored(OF_LINKED[name](linked.copy()), name, tmp_path)


def test_every_plot_has_a_picture():
    names = [*OF_TOY, *OF_LINKED]
    figures = set(jm.pl.__all__) - {"report"}  # which is a page
    assert all(any(name.startswith(plot) for name in names) for plot in figures)
    assert sorted(path.stem for path in STORED.glob("*.png")) == sorted(names)


def test_the_pictures_are_of_the_versions_that_the_constraints_name():
    constraints = Path(__file__).parents[2] / "constraints.txt"
    if not constraints.is_file():
        pytest.skip("no constraints.txt beside an installed package")
    assert f"matplotlib=={OF_PICTURES.split()[1].strip(',')}\n" in constraints.read_text(encoding="utf-8")
