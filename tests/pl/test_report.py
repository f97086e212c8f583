"""The page, read by a parser: whole by itself, and readable by everybody."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

import jamie as jm

LOADS = {"src", "href", "srcset", "poster", "data", "action"}


class Page(HTMLParser):
    """Headings, images, addresses, tables and text of a page; unclosed elements are an error."""

    VOID = frozenset(["meta", "img", "br", "hr", "link", "input"])

    def __init__(self, text):
        super().__init__()
        self.headings, self.images, self.addresses, self.tags = [], [], [], []
        self.open, self.said, self.anchors, self.language = [], [], set(), None
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs.items() if name in LOADS]
        self.anchors.add(attrs.get("id"))
        if tag == "html":
            self.language = attrs.get("lang")
        if tag == "img":
            self.images.append(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())


@pytest.fixture(scope="module")
def whole_session(trained_session, tmp_path_factory):
    mdata, model = trained_session
    mdata = mdata.copy()
    for source, target in (("rna", "protein"), ("protein", "rna")):
        jm.tl.impute(mdata, model, source=source, target=target, interval=0.9 if source == "rna" else None)
    jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["ridge"])
    jm.tl.diagnose(mdata, model, labels="cell_type")
    jm.tl.match(mdata, source="rna", target="protein")
    jm.tl.explain(mdata, model, source="rna", target="protein", n_cells=20, n_background=10)
    jm.tl.knockout(mdata, model, source="rna", target="protein", n_cells=40)
    path = tmp_path_factory.mktemp("report") / "report.html"
    returned = jm.pl.report(mdata, model, path, labels="cell_type", basis="pca")
    return mdata, model, path, returned


@pytest.fixture
def whole(whole_session):
    return Page(whole_session[2].read_text(encoding="utf-8"))


def test_the_page_needs_nothing_but_itself(whole, whole_session):
    _, _, path, returned = whole_session
    text = path.read_text(encoding="utf-8")
    assert returned == path
    assert path.stat().st_size < 5_000_000
    assert whole.addresses
    assert all(address.startswith(("data:image/", "#")) for address in whole.addresses)
    assert not re.search(r"https?://|@import|url\(", text)
    assert not {"script", "link", "iframe"} & set(whole.tags)
    for image in whole.images:
        data = base64.b64decode(image["src"].partition("base64,")[2])
        assert data.startswith((b"\x89PNG", b"<?xml"))


def test_the_page_is_readable_by_everybody(whole):
    assert whole.language == "en"
    assert whole.headings[0] == 1
    assert whole.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(whole.headings, whole.headings[1:], strict=False))
    assert len(whole.images) >= 8
    assert all(len(image["alt"]) > 30 for image in whole.images)
    assert len({image["alt"] for image in whole.images}) == len(whole.images)
    links = [address.removeprefix("#") for address in whole.addresses if address.startswith("#")]
    assert links
    assert set(links) <= whole.anchors


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_text_has_contrast(whole_session):
    style = re.search(r"<style>(.*?)</style>", whole_session[2].read_text(encoding="utf-8"), re.DOTALL).group(1)
    colors = re.findall(r"(?<![-\w])color: (#[0-9a-f]{3,6});", style)
    assert len(colors) >= 6
    for color in colors:
        full = color if len(color) == 7 else "#" + "".join(2 * c for c in color[1:])
        assert (luminance("#f2f2f2") + 0.05) / (luminance(full) + 0.05) >= 4.5, color


def test_the_page_says_what_was_computed(whole, whole_session):
    mdata, model, _, _ = whole_session
    table = mdata.uns["jamie_evaluation"]
    ours = table[(table["source"] == "rna") & (table["method"] == "jamie")].iloc[0]
    assert f"{ours['correlation']:.3f} ± {ours['correlation_se']:.3f}" in whole.text
    assert f"{len(mdata.uns['jamie_diagnosis'])} checks" in whole.text
    assert "rna → protein" in whole.text
    assert f"{model.summary_.best_step} of {model.summary_.n_steps}" in whole.text
    assert "10.1038/s42256-023-00663-z" in whole.text
    for name in ("numpy", "torch", "seed", "kernel_mix", "SHAP", "without each feature", "Partners by the latent"):
        assert name in whole.text
    assert not re.search(r"\b(nan|None)\b", whole.text)


def test_what_asks_for_something_stands_first(whole_session):
    text = whole_session[2].read_text(encoding="utf-8")
    found = re.findall(r'<tr class="(\w+)">', text)
    ranks = [("bad", "doubtful", "unknown", "good").index(verdict) for verdict in found]
    assert ranks == sorted(ranks)
    assert "bad" in found  # 60 steps


def test_what_is_missing_is_a_line_with_its_call(trained, tmp_path, unchanged):
    mdata, model = trained
    path = jm.pl.report(unchanged(mdata), model, tmp_path / "bare.html", basis="pca", title="<b>Mine</b>")
    page = Page(path.read_text(encoding="utf-8"))
    for call in ("diagnose(mdata, model)", "evaluate(mdata, model)", "match(mdata, source", "explain(mdata, model"):
        assert f"jm.tl.{call}" in page.text
    assert "jm.tl.impute(mdata, model, source='rna', target='protein')" in page.text
    assert "<b>Mine</b>" in page.text
    assert "b" not in page.tags
    assert len(page.images) == 2
    assert page.headings == [1] + 9 * [2]


def test_a_model_from_elsewhere_has_a_page_too(trained, tmp_path):
    mdata, model = trained
    del mdata.uns["jamie"]
    for name in mdata.mod:
        del mdata[name].obsm["X_jamie"]
    text = Page(jm.pl.report(mdata, model, tmp_path / "a.html").read_text(encoding="utf-8")).text
    assert "jm.tl.train(mdata)" in text
    assert "jm.tl.embed(mdata, model)" in text


def test_intervals_are_shown_where_they_are(trained, tmp_path):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    imputed = mdata["rna"].obsm["jamie_imputed_protein"]  # of fewer pairs than intervals ask for
    mdata["rna"].obsm["jamie_imputed_protein_lower"] = imputed - 100
    mdata["rna"].obsm["jamie_imputed_protein_upper"] = imputed + 100
    text = Page(jm.pl.report(mdata, model, tmp_path / "a.html", basis="pca").read_text(encoding="utf-8")).text
    assert "coverage width" in text
    assert "interval=0.9" not in text
    table = jm.get.imputed_features(mdata, source="rna", target="protein")
    assert (table["coverage"] == 1).all()
    np.testing.assert_allclose(table["width"], 200, rtol=1e-5)


def test_nothing_is_written_to_a_read_only_mdata(whole_session, tmp_path):
    mdata, model, _, _ = whole_session
    mdata = mdata.copy()
    for adata in mdata.mod.values():
        for values in (adata.X, *adata.obsm.values(), *adata.layers.values()):
            array = values.data if hasattr(values, "indptr") else values
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
    before = {name: set(getattr(mdata, name)) for name in ("uns", "obsm", "obsp", "obs")}
    jm.pl.report(mdata, model, tmp_path / "a.html", labels="cell_type", basis="pca")
    assert {name: set(getattr(mdata, name)) for name in before} == before


def test_it_needs_no_screen_and_leaves_no_figure(whole_session, tmp_path):
    mdata, model, _, _ = whole_session
    open_before, salt = plt.get_fignums(), mpl.rcParams["svg.hashsalt"]
    first, second = (
        jm.pl.report(mdata, model, tmp_path / name, basis="pca").read_text(encoding="utf-8") for name in "ab"
    )
    assert first == second
    assert plt.get_fignums() == open_before
    assert mpl.rcParams["svg.hashsalt"] == salt


def test_errors_leave_no_file(trained, tmp_path):
    mdata, model = trained
    with pytest.raises(KeyError, match="did you mean 'cell_type'"):
        jm.pl.report(mdata, model, tmp_path / "a.html", labels="celltype", basis="pca")
    with pytest.raises(OSError, match="expected a folder to write to"):
        jm.pl.report(mdata, model, tmp_path / "none" / "a.html", basis="pca")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_or_coloured_is_said_before_anything_is_drawn(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(jm.get, "inputs", lambda *_, **__: pytest.fail("it went on"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        jm.pl.report(*trained, tmp_path / "folder")
    with pytest.raises(OSError, match="missing"):
        jm.pl.report(*trained, tmp_path / "missing" / "report.html")


FOREIGN = {
    "text": b"something else",
    "a page of others": b"<!DOCTYPE html><html><head><title>jamie-tools</title></head></html>",
    "no text": bytes(range(256)),
    "a model": b"\x20\x00\x00\x00\x00\x00\x00\x00{}",
}


@pytest.mark.parametrize("raw", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_no_report_is_not_replaced(trained, tmp_path, monkeypatch, raw):
    monkeypatch.setattr(jm.get, "inputs", lambda *_, **__: pytest.fail("it went on"))
    path = tmp_path / "report.html"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"expected nothing at `.*report\.html`.*another file.*pass another `path`"):
        jm.pl.report(*trained, path)
    assert path.read_bytes() == raw


def test_a_report_and_an_empty_file_are_replaced(trained, tmp_path):
    path = tmp_path / "report.html"
    path.touch()
    for title in ("first", "second"):
        jm.pl.report(*trained, path, basis="pca", title=title)
        assert f"<title>{title}</title>" in path.read_text(encoding="utf-8")


def test_labels_that_are_not_there_are_named_as_labels(trained, tmp_path):
    with pytest.raises(KeyError, match=r"`labels`.*did you mean 'cell_type'"):
        jm.pl.report(*trained, tmp_path / "report.html", labels="celltype", basis="pca")


def test_the_page_says_how_sure_cells_are_where_it_is_known(whole, whole_session):
    mdata, *_ = whole_session
    assert whole.text.count("How sure cells are") == 1
    held_out = mdata["rna"].obs[mdata["rna"].obs["jamie_role"] == "held-out"]
    assert f"{held_out['jamie_imputation_confidence_protein'].median():.3g}" in whole.text
    assert f"{(held_out['jamie_novelty_protein'] > 1).mean():.0%}" in whole.text
    assert {"coverage", "confidence", "novelty"} <= set(mdata.uns["jamie_diagnosis"]["measure"])
    assert "of the measured values lie within their 90% intervals" in whole.text


def test_what_another_model_made_is_not_shown_as_that_of_this_one(trained, tmp_path):
    mdata, model = trained
    jm.tl.diagnose(mdata, model)
    jm.tl.evaluate(mdata, model, baselines=[])
    jm.tl.impute(mdata, model, source="rna", target="protein")
    jm.tl.explain(mdata, model, source="rna", target="protein", n_cells=5, n_background=5)
    jm.tl.knockout(mdata, model, source="protein", target="rna", n_cells=5)

    def page(model):
        return Page(jm.pl.report(mdata, model, tmp_path / "x.html", basis="pca").read_text(encoding="utf-8")).text

    model.save(tmp_path / "model.jamie")
    own = page(jm.JAMIE.load(tmp_path / "model.jamie"))  # the same one
    assert "nother model" not in own
    other = jm.JAMIE(max_steps=2, rng=7).fit(mdata)
    of_other = page(other)
    for call in (
        "tl.diagnose(mdata, model)",
        "tl.evaluate(mdata, model)",
        "tl.embed(mdata, model)",
        "of another MuData",
        "tl.explain(mdata, model, source='rna', target='protein')",
        "tl.knockout(mdata, model, source='protein', target='rna')",
    ):
        assert call in of_other
        assert call not in own
    assert "imputed by another model" in of_other
    again = jm.tl.train(mdata, max_steps=3, rng=8)
    assert "Another model was diagnosed" in page(again)
    assert "latents are of another model" in page(model)
    assert "latents are of another model" not in page(again)
    jm.tl.embed(mdata, other)
    jm.tl.diagnose(mdata, other)
    jm.tl.evaluate(mdata, other, baselines=[])
    jm.tl.impute(mdata, other, source="rna", target="protein")
    jm.tl.explain(mdata, other, source="rna", target="protein", n_cells=5, n_background=5)
    jm.tl.knockout(mdata, other, source="protein", target="rna", n_cells=5)
    assert "nother model" not in page(other)
