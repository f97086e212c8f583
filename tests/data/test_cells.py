"""The one door: what is wrong with a MuData or a model is said before anything is read, and nothing is read twice."""

from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie._keys import Keys
from jamie.data import Preparation, open_cells, open_for_model, require_several, two_modalities, writable_one
from jamie.metrics import max_correlation


@pytest.fixture(scope="module")
def pair():
    """A MuData of 60 cells with a split, and a model of it."""
    mdata = jm.datasets.toy()
    jm.pp.split(mdata)
    return mdata, jm.tl.train(mdata, max_steps=2)


@pytest.fixture
def mdata(pair):
    toy = jm.datasets.toy()
    jm.pp.split(toy)
    return toy


@pytest.fixture
def model(pair):
    return pair[1]


VERBS = {
    "train": lambda mdata, model: jm.tl.train(mdata, max_steps=2),
    "split": lambda mdata, model: jm.pp.split(mdata),
    "prepare": lambda mdata, model: jm.pp.prepare(mdata),
    "embed": lambda mdata, model: jm.tl.embed(mdata, model),
    "impute": lambda mdata, model: jm.tl.impute(mdata, model, source="rna", target="protein"),
    "reconstruct": lambda mdata, model: jm.tl.reconstruct(mdata, model, modality="protein"),
    "evaluate": lambda mdata, model: jm.tl.evaluate(mdata, model, baselines=[]),
    "complete": lambda mdata, model: jm.tl.complete(mdata, model),
    "fit": lambda mdata, model: jm.JAMIE(max_steps=2).fit(mdata),
    "model.embed": lambda mdata, model: model.embed(mdata),
}
OF_MODEL = ["embed", "impute", "reconstruct", "evaluate", "complete"]


# a MuData that is not what its modalities are


def shorter(mdata):
    mdata.mod["rna"] = mdata["rna"][:30].copy()


def other_cells(mdata):
    mdata.mod["protein"] = renamed(mdata["protein"].copy(), "p_")


def without(mdata):
    del mdata.mod["protein"]


def with_another(mdata):
    mdata.mod["more"] = renamed(more_of(mdata), "m_")


def one_renamed(mdata):
    renamed(mdata["rna"], "s1_")


def all_renamed(mdata):
    for name in mdata.mod:
        renamed(mdata[name], "s1_")


def one_cell_renamed(mdata):
    mdata["rna"].obs_names = ["one", *mdata["rna"].obs_names[1:]]


def longer(mdata):
    mdata.mod["rna"] = ad.concat([mdata["rna"], renamed(mdata["rna"][:3].copy(), "n_")])


def more_of(mdata):
    """The same cells with features of other names."""
    more = mdata["rna"].copy()
    more.var_names = "more " + more.var_names
    return more


def renamed(adata, prefix):
    adata.obs_names = prefix + adata.obs_names
    return adata


CHANGED = [shorter, other_cells, without, with_another, one_renamed, all_renamed, one_cell_renamed, longer]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("change", CHANGED)
def test_a_mudata_that_was_not_updated_is_refused_with_the_call_that_mends_it(mdata, model, change, verb):
    change(mdata)
    with pytest.raises(jm.JamieError, match=r"expected the cells of `mdata` to be those of its modalities") as error:
        VERBS[verb](mdata, model)
    assert "mdata.update()" in str(error.value)
    assert "mdata = mudata.MuData(dict(mdata.mod))" in str(error.value)
    assert "X_jamie" not in mdata.obsm


@pytest.mark.parametrize("change", CHANGED)
def test_the_calls_of_the_message_mend_it(mdata, model, change):
    change(mdata)
    anew = MuData(dict(mdata.mod))
    assert set(open_for_model(anew, model).names) == set(model.preparations_) & set(anew.mod)
    try:
        mdata.update()
    except NotImplementedError:  # of mudata 0.3, where cells were renamed and went at once
        return
    assert open_for_model(mdata, model).n_obs == mdata.n_obs


@pytest.mark.parametrize(
    "change", [lambda a: a[::-1], lambda a: a[::-1].copy(), lambda a: a[:, ::-1].copy(), lambda a: a]
)
def test_what_has_another_order_is_read_by_name(mdata, model, change):
    before = model.embed(mdata)["rna"]
    names = mdata["rna"].obs_names
    mdata.mod["rna"] = change(mdata["rna"])
    after = pd.DataFrame(model.embed(mdata)["rna"], index=mdata["rna"].obs_names).loc[names]
    assert_allclose(after, before, atol=1e-5)
    cells = open_cells(mdata)
    assert_array_equal(cells.obs_names[cells.rows("rna")], mdata["rna"].obs_names)


def test_names_that_the_mudata_changes_itself_are_those_of_its_modalities(mdata, model):
    mdata.obs_names = "s1_" + mdata.obs_names
    assert open_for_model(mdata, model).cells("rna")[0].startswith("s1_")


# names


@pytest.mark.parametrize("axis", ["obs", "var"])
@pytest.mark.parametrize("name", ["rna", "protein"])
@pytest.mark.filterwarnings("ignore:(Observation|Variable|obs|var).*names are not unique")
def test_repeated_names_are_refused(mdata, model, axis, name):
    names = list(getattr(mdata[name], f"{axis}_names"))
    setattr(mdata[name], f"{axis}_names", [names[0], names[0], *names[2:]])
    for verb in ("train", "embed", "split", "prepare"):
        with pytest.raises(ValueError, match=rf"in `mdata\['{name}'\].{axis}_names`, found 1 repeated.*make_unique"):
            VERBS[verb](mdata, model)


@pytest.mark.filterwarnings("ignore:(Observation|Variable|obs|var).*names are not unique", "ignore:Cannot join")
def test_repeated_cells_of_a_modality_that_is_not_used_are_refused_too(mdata, model):
    """For the MuData itself has them twice then, and no row can be found by name."""
    more = more_of(mdata)
    more.obs_names = ["c"] * more.n_obs
    both = MuData({**mdata.mod, "more": more})
    with pytest.raises(ValueError, match=r"unique names in `mdata\['more'\].obs_names`, found 1 repeated, first 'c'"):
        model.open(both)


def test_missing_names_are_refused(mdata, model):
    names = np.array(mdata["rna"].obs_names, dtype=object)
    names[3] = np.nan
    mdata["rna"].obs.index = pd.Index(names)
    anew = MuData(dict(mdata.mod))
    with pytest.raises(ValueError, match=r"a name for each row of `mdata\['rna'\].obs`, found 1 missing"):
        model.open(anew)


def test_nullable_names_are_those_of_the_model(mdata, model):
    before = model.embed(mdata)
    for adata in mdata.mod.values():
        adata.obs_names, adata.var_names = (pd.Index(n, dtype="string") for n in (adata.obs_names, adata.var_names))
    mdata = MuData(dict(mdata.mod))
    cells = model.open(mdata)
    for name in cells.names:
        for names in (cells.cells(name), cells.features(name)):
            assert names.dtype in (object, pd.Index(["a"]).dtype)  # of text, without pd.NA
        assert cells.matched(name).is_complete
        assert_allclose(model.embed(mdata)[name], before[name])
    assert cells.known("rna", "protein").nnz == 48
    jm.tl.impute(mdata, model, source="rna", target="protein")
    assert "jamie_imputed" in mdata["protein"].layers


@pytest.mark.parametrize("name", ["a/b", "", "  ", "a\0b", ".", "..", "\ud800"])
@pytest.mark.parametrize("verb", ["train", "split", "prepare", "embed"])
def test_modalities_that_no_file_holds_are_refused_also_unused(mdata, model, name, verb):
    odd = MuData({"rna": mdata["rna"], "protein": mdata["protein"], name: more_of(mdata)})
    with pytest.raises(ValueError, match=r"names of modalities that a file can hold, found .*; rename it"):
        VERBS[verb](odd, model)


# what is no MuData, and no model

NO_MUDATA = {
    "the model": lambda mdata, model: model,
    "an AnnData": lambda mdata, model: mdata["rna"],
    "nothing": lambda mdata, model: None,
    "a path": lambda mdata, model: "cells.h5mu",
    "a mapping": lambda mdata, model: dict(mdata.mod),
    "a table": lambda mdata, model: mdata["rna"].to_df(),
    "a list": lambda mdata, model: [mdata],
    "an array": lambda mdata, model: np.zeros((3, 3)),
}
NO_MODEL = {
    "the MuData": lambda mdata: mdata,
    "nothing": lambda mdata: None,
    "a path": lambda mdata: "x.jamie",
    "another estimator": lambda mdata: __import__("sklearn.linear_model").linear_model.Ridge(),
    "a network": lambda mdata: __import__("torch").nn.Linear(2, 2),
}


TAKE_ANNDATA = {("an AnnData", "impute"), ("an AnnData", "reconstruct")}  # `source`, `modality` say which it is


@pytest.mark.parametrize(("given", "verb"), [(g, v) for g in NO_MUDATA for v in VERBS if (g, v) not in TAKE_ANNDATA])
def test_what_is_no_mudata_is_refused_with_the_right_call(mdata, model, given, verb):
    with pytest.raises(jm.JamieError, match="expected a MuData") as error:
        VERBS[verb](NO_MUDATA[given](mdata, model), model)
    assert isinstance(error.value, TypeError)
    assert {"the model": "exchange them", "an AnnData": "mudata.MuData({'rna': adata})"}.get(given, "") in str(
        error.value
    )


@pytest.mark.parametrize("verb", OF_MODEL)
@pytest.mark.parametrize("given", NO_MODEL)
def test_what_is_no_model_is_refused_with_the_right_call(mdata, given, verb):
    with pytest.raises(TypeError, match=r"expected a model of jm.tl.train or jm.JAMIE.load, found .* the model second"):
        VERBS[verb](mdata, NO_MODEL[given](mdata))


@pytest.mark.parametrize("verb", OF_MODEL)
@pytest.mark.parametrize("unfitted", [jm.JAMIE(), jm.JAMIE])
def test_a_model_that_was_not_fitted_is_refused(mdata, unfitted, verb):
    with pytest.raises(ValueError, match=r"expected a trained model, found one that was not fitted; call jm.tl.train"):
        VERBS[verb](mdata, unfitted)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("verb", ["train", "split", "prepare", "embed", "complete"])
@pytest.mark.filterwarnings("ignore")
def test_a_mudata_along_another_axis_is_refused(mdata, model, axis, verb):
    other = MuData(dict(mdata.mod), axis=axis)
    with pytest.raises(ValueError, match=rf"\(axis=0\), found axis={axis}; make it anew"):
        VERBS[verb](other, model)


@pytest.mark.parametrize("verb", ["train", "split", "prepare", "embed", "complete"])
def test_a_nested_mudata_is_refused(mdata, model, verb):
    nested = MuData({"rna": mdata["rna"], "more": MuData({"protein": mdata["protein"]})})
    with pytest.raises(ValueError, match=r"found a MuData in `mdata.mod\['more'\]`; make it flat"):
        VERBS[verb](nested, model)


@pytest.mark.parametrize("verb", ["embed", "impute", "reconstruct", "evaluate", "split", "prepare", "train"])
def test_what_would_be_lost_in_a_view_is_not_written(mdata, model, verb):
    with pytest.raises(ValueError, match=r"found a view of another; call mdata = mdata.copy\(\)"):
        VERBS[verb](mdata[:40], model)
    assert model.embed(mdata[:40])["rna"].shape[0] < 54  # arrays are given


def test_a_mudata_without_modalities_of_the_model_is_refused(mdata, model):
    other = MuData({"gex": mdata["rna"], "adt": mdata["protein"]})
    with pytest.raises(KeyError, match=r"modality of the model, \['rna', 'protein'\].*found \['gex', 'adt'\]; name it"):
        model.open(other)
    assert model.open(MuData({"gex": mdata["rna"], "protein": mdata["protein"]})).names == ("protein",)


# modalities to use


@pytest.mark.parametrize(
    ("modalities", "error", "message"),
    [
        ("rna", TypeError, r"a list of names, found the text 'rna'; pass modalities=\['rna', 'protein'\]"),
        (5, TypeError, "a list of names, found 5"),
        ([1, 2], TypeError, "to be text, one of"),
        ([["rna", "protein"]], TypeError, "to be text, one of"),
        (["rna", "rna"], ValueError, "each modality once"),
        (["rna", "protien"], KeyError, "did you mean 'protein'"),
        (["rna"], ValueError, "at least two modalities, found 1"),
        ([], ValueError, "at least two modalities, found 0"),
    ],
)
def test_modalities_that_cannot_be_are_refused(mdata, modalities, error, message):
    for verb in (jm.pp.prepare, jm.tl.train):
        with pytest.raises(error, match=message):
            verb(mdata, modalities=modalities)


@pytest.mark.parametrize("form", [list, tuple, np.array, pd.Index, dict.fromkeys])
def test_modalities_come_in_the_order_asked_for(mdata, form):
    cells = open_cells(mdata, modalities=form(["protein", "rna"]))
    assert cells.names == ("protein", "rna")
    assert all(type(name) is str for name in cells.names)
    assert open_cells(mdata, modalities={"protein", "rna"}).names == ("rna", "protein")  # of a set, that of the MuData
    require_several(cells)
    assert two_modalities(cells) == ("protein", "rna")


# values


def replaced(mdata, x, layers=None):
    """The rna with other values."""
    adata = ad.AnnData(x, obs=mdata["rna"].obs, var=mdata["rna"].var, layers=layers)
    return MuData({"rna": adata, "protein": mdata["protein"]})


@pytest.mark.parametrize("verb", ["train", "prepare", "embed", "impute", "evaluate"])
def test_a_modality_without_values_is_refused_with_what_would_do(mdata, model, verb):
    x = mdata["rna"].X
    with pytest.raises(ValueError, match=r"values in `mdata\['rna'\].X`, found none \(40 features\); leave 'rna' out"):
        VERBS[verb](replaced(mdata, None), model)
    with pytest.raises(ValueError, match=r"\(40 features\); pass layer={'rna': 'counts'}, or leave 'rna' out"):
        VERBS[verb](replaced(mdata, None, {"counts": x}), model)
    nothing = MuData({"rna": mdata["rna"][:, :0].copy(), "protein": mdata["protein"]})
    with pytest.raises(ValueError, match=r"found none \(0 features\); leave 'rna' out: modalities=\['protein'\]"):
        VERBS[verb](nothing, model)
    nobody = MuData({"rna": mdata["rna"][:0].copy(), "protein": mdata["protein"]})
    with pytest.raises(ValueError, match=r"expected cells (in|of) `mdata\['rna'\]`"):
        VERBS[verb](nobody, model)


def test_the_layer_of_a_matrix_that_is_not_there_is_read(mdata, model):
    before = model.embed(mdata)
    without_x = replaced(mdata, None, {"counts": mdata["rna"].X})
    assert_allclose(model.embed(without_x, layer={"rna": "counts"})["rna"], before["rna"])


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (
            "counts",
            KeyError,
            r"in `mdata\['protein'\].layers`, found \[\]; pass layer={'rna': 'counts'}, for the",
        ),
        ({"protein": "counts"}, KeyError, r"'counts' in `mdata\['protein'\].layers`"),
        ({"rna": "cuonts"}, KeyError, r"found \['counts'\]; did you mean 'counts'"),
        ({"rna": "zzz"}, KeyError, r"pass layer={'rna': 'X'}, which holds whole numbers"),
        ({"atac": "counts"}, KeyError, r"found 'atac'; it maps modalities to layers"),
        (5, TypeError, "a name or a mapping by modality, found 5"),
        (["counts"], TypeError, r"a name or a mapping by modality, found \['counts'\]"),
        ({"rna": 5}, TypeError, "the layer of 'rna' as text, found 5"),
    ],
)
def test_layers_that_cannot_be_are_refused(mdata, model, layer, error, message):
    mdata["rna"].layers["counts"] = mdata["rna"].X.copy()
    calls = [
        lambda: jm.tl.embed(mdata, model, layer=layer),
        lambda: jm.tl.evaluate(mdata, model, layer=layer, baselines=[]),
        lambda: jm.tl.train(mdata, max_steps=2, layer=layer),
        lambda: jm.pp.prepare(mdata, layer=layer),
    ]
    for call in calls:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("layer", [None, "X", "", {}, {"rna": None}, {"rna": "X"}, {"rna": "X", "protein": "X"}])
def test_the_matrix_itself_is_read_unless_another_is_asked_for(mdata, model, layer):
    mdata["rna"].layers["norm"] = mdata["rna"].X.log1p()
    cells = model.open(mdata, layer=layer)
    assert cells.matrix("rna").where == "mdata['rna'].X"
    assert_array_equal(cells.matrix("rna")[:].toarray(), mdata["rna"].X.toarray())


def test_the_layer_of_the_training_is_read_again_and_another_only_if_asked_for(mdata):
    mdata["rna"].layers["counts"] = mdata["rna"].X.copy()
    mdata["rna"].X = mdata["rna"].X.log1p()
    trained = jm.tl.train(mdata, max_steps=2, layer={"rna": "counts"})
    assert trained.preparations_["rna"].layer == "counts"
    assert trained.open(mdata).matrix("rna").where == "mdata['rna'].layers['counts']"
    plain = jm.datasets.toy()
    with pytest.raises(KeyError, match=r"in `mdata\['rna'\].layers`, which the model was trained on, found \[\]"):
        trained.embed(plain)
    assert_allclose(trained.embed(plain, layer="X")["rna"], trained.embed(mdata)["rna"])


def test_masked_values_are_missing(mdata):
    x = np.ma.masked_equal(mdata["rna"].X.toarray() / 2, 1.5)
    layered = mdata["rna"].copy()
    layered.layers["gaps"] = x
    cells = open_cells(MuData({"rna": layered, "protein": mdata["protein"]}), layer={"rna": "gaps"})
    if isinstance(layered.layers["gaps"], np.ma.MaskedArray):
        assert_array_equal(np.isnan(cells.matrix("rna")[:]), x.mask)


# passes from features to components


@pytest.fixture
def passes(monkeypatch):
    """Cells taken from features to components, by number of features."""
    counted = {}
    components = Preparation.components

    def counting(self, scaled, columns=slice(None)):
        d = len(self.features)
        counted[d] = counted.get(d, 0) + scaled.shape[0]
        return components(self, scaled, columns)

    monkeypatch.setattr(Preparation, "components", counting)
    return counted


@pytest.fixture(scope="module")
def large():
    mdata = jm.datasets.toy(n_cells=600)
    jm.pp.split(mdata)
    return mdata, jm.tl.train(mdata, max_steps=2)


LOOKED_AT = 50  # cells by which components that were written are recognised
OF_NOVELTY = 434  # training cells, by which it is learned which cells are new; at most 1,000
GENES, PROTEINS, N = 40, 12, 540
CALLS = {
    "embed": (lambda mdata, model: jm.tl.embed(mdata, model), {GENES: 1, PROTEINS: 1}),
    "evaluate": (
        lambda mdata, model: jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["ridge"], aligners=["cca"]),
        {GENES: 1, PROTEINS: 1},
    ),
    "impute": (lambda mdata, model: jm.tl.impute(mdata, model, source="rna", target="protein"), {GENES: 1}),
    "reconstruct": (lambda mdata, model: jm.tl.reconstruct(mdata, model, modality="protein"), {PROTEINS: 1}),
    "complete": (lambda mdata, model: jm.tl.complete(mdata, model), {GENES: 1, PROTEINS: 1}),
    "knockout": (
        lambda mdata, model: jm.tl.knockout(mdata, model, source="rna", target="protein"),
        {GENES: 1, PROTEINS: 1},
    ),
    "model.embed": (lambda mdata, model: model.embed(mdata), {GENES: 1, PROTEINS: 1}),
    "model.impute": (lambda mdata, model: model.impute(mdata, source="rna", target="protein"), {GENES: 1}),
    "train": (lambda mdata, model: jm.tl.train(mdata, max_steps=2), {GENES: 1, PROTEINS: 1}),
    "fit": (lambda mdata, model: jm.JAMIE(max_steps=2).fit(mdata), {GENES: 1, PROTEINS: 1}),
    "prepare": (lambda mdata, model: jm.pp.prepare(mdata), {GENES: 1, PROTEINS: 1}),
}


@pytest.mark.parametrize("call", CALLS)
def test_features_are_taken_to_components_once(large, passes, call):
    mdata, model = large[0].copy(), large[1]
    run, most = CALLS[call]
    run(mdata, model)
    assert set(passes) <= set(most)
    for d, n in passes.items():
        of_novelty = OF_NOVELTY if call in ("train", "fit") else 0
        assert n <= most[d] * N + 2 * LOOKED_AT + of_novelty, f"{n / N:.1f} passes over {d} features"


def test_a_training_after_prepare_takes_them_to_none(large, passes):
    mdata = large[0].copy()
    jm.pp.prepare(mdata)
    passes.clear()
    jm.tl.train(mdata, max_steps=2)
    assert max(passes.values()) <= 2 * LOOKED_AT + OF_NOVELTY


def test_cells_that_were_opened_are_read_once_by_many_calls(large, passes):
    mdata, model = large
    cells = model.open(mdata.copy())
    model.embed(cells)
    model.impute(cells, source="rna", target="protein")
    model.reconstruct(cells, modality="rna")
    [cells.role(name) for name in cells.names]
    assert passes == {GENES: N, PROTEINS: N}


def test_what_one_training_prepared_is_not_taken_for_another_model(large, passes):
    mdata, model = large
    cells = open_cells(mdata.copy())
    other = jm.JAMIE(max_steps=2, rng=5).fit(cells)
    passes.clear()
    assert_allclose(other.open(cells).inputs("rna"), other.open(mdata).inputs("rna"), atol=1e-4)
    assert passes == {GENES: N}  # of the second only
    assert_allclose(model.open(cells).inputs("rna"), model.open(mdata).inputs("rna"), atol=1e-4)


# what else it gives


def test_measured_values_are_nan_where_features_are_missing(mdata, model):
    part = MuData({"rna": mdata["rna"][:, 3:].copy(), "protein": mdata["protein"]})
    rows, columns = np.array([5, 2]), np.array([0, 4, 39])
    x = model.open(part).measured("rna", rows, columns)
    assert np.isnan(x[:, 0]).all()
    assert np.isfinite(x[:, 1:]).all()
    full = model.open(mdata).measured("rna", rows, columns)
    dense = mdata["rna"].X.toarray()[rows]
    depth = model.preparations_["rna"].normaliser.depth
    assert_allclose(full, np.log1p(dense / dense.sum(1, keepdims=True) * depth)[:, columns], rtol=1e-5)


def test_too_few_features_are_refused(mdata, model):
    part = MuData({"rna": mdata["rna"][:, 37:].copy(), "protein": mdata["protein"]})
    with pytest.raises(ValueError, match=r"at least 10% of the 40 features of 'rna'.*found 3 .*missing first 'gene1'"):
        model.embed(part)


def test_slots_that_would_meet_are_told_apart(make_mdata, rng):
    names = {"rna": "a", "nuc_atac": "b", "rna_nuc": "c", "atac": "d"}
    x = {name: rng.normal(size=(30, 4)).astype("f4") for name in names}
    mdata = make_mdata(cells={name: [f"{c}{i}" for i in range(30)] for name, c in names.items()}, **x)
    pairs = {("rna", "nuc_atac"): 20, ("rna_nuc", "atac"): 10}
    for (a, b), n in pairs.items():
        table = pd.DataFrame({a: mdata[a].obs_names[:n], b: mdata[b].obs_names[:n]})
        jm.pp.correspondence(mdata, modalities=[a, b], pairs=table)
    assert len(mdata.obsp) == 2
    for (a, b), n in pairs.items():
        assert open_cells(mdata).known(a, b).nnz == open_cells(mdata).known(b, a).nnz == n


def test_a_split_of_the_default_prefix_serves_all_and_its_loss_is_said(mdata, caplog):
    expected = open_cells(mdata).train("rna")
    assert 0 < expected.sum() < len(expected)
    assert_array_equal(open_cells(mdata, keys=Keys("second")).train("rna"), expected)
    mdata.obs["third_split"] = np.where(np.arange(mdata.n_obs) % 2, "train", "test")
    assert_array_equal(open_cells(mdata, keys=Keys("second")).train("rna"), expected)
    assert open_cells(mdata, keys=Keys("third")).train("rna").mean() < 0.6
    del mdata.obs["jamie_split"]
    with caplog.at_level("WARNING", logger="jamie"):
        assert open_cells(mdata).train("rna").all()
    assert any("`mdata.obs['third_split']` holds out cells" in text for text in caplog.messages)


@pytest.mark.parametrize("value", [np.nan, "validation", "TRAIN", None])
def test_a_split_that_does_not_say_all_is_refused(mdata, model, value):
    split = mdata.obs["jamie_split"].astype(object)
    split.iloc[3] = value
    mdata.obs["jamie_split"] = split
    with pytest.raises(ValueError, match=r"'train' or 'test' in `mdata.obs\['jamie_split'\]`.*call jm.pp.split"):
        jm.tl.train(mdata, max_steps=2)
    assert model.embed(mdata)["rna"].shape == (54, 32)  # the model knows its cells by itself


def test_pairs_of_the_same_name_are_found_in_any_order(mdata):
    cells = open_cells(mdata)
    f = cells.known("rna", "protein").toarray()
    assert_array_equal(f, np.equal.outer(mdata["rna"].obs_names.to_numpy(), mdata["protein"].obs_names.to_numpy()))
    over_all = cells.over_all_cells(sparse.csr_matrix(f), "rna", "protein")
    assert_array_equal(over_all[cells.rows("rna")][:, cells.rows("protein")].toarray(), f)


def test_on_disk_it_is_the_same(mdata, model, tmp_path):
    mdata.write(tmp_path / "x.h5mu")
    backed = md.read_h5mu(tmp_path / "x.h5mu", backed="r")
    for name, latent in model.embed(backed).items():
        assert_allclose(latent, model.embed(mdata)[name], atol=1e-5)


def test_measured_values_without_some_features_are_on_the_scale_of_all(trained):
    """A total of fewer genes is compared with the share that they had in the training."""
    mdata, model = trained
    few = MuData({"rna": mdata["rna"][:, 4:].copy(), "protein": mdata["protein"].copy()})
    cells = open_for_model(few, model)
    rows = np.arange(20)
    x = mdata["rna"].X[rows]
    x = (x.toarray() if sparse.issparse(x) else np.asarray(x)).astype(float)
    normaliser = model.preparations_["rna"].normaliser
    size = x[:, 4:].sum(axis=1) / normaliser.levels[4:].sum()
    expected = np.log1p(x[:, 4:] * normaliser.depth / size[:, None])
    found = cells.measured("rna", rows, np.arange(x.shape[1]))
    assert np.isnan(found[:, :4]).all()
    np.testing.assert_allclose(found[:, 4:], expected, rtol=1e-5, atol=1e-6)


def test_the_limit_of_features_is_that_of_their_counts(trained):
    """As of the whole modality on the imputed scale, normalised by scanpy; a feature that is not there has none."""
    mdata, model = trained
    columns = np.array([5, 0, 7])

    def normalised(counts):
        of = ad.AnnData(counts.astype(np.float32))
        sc.pp.normalize_total(of, target_sum=model.preparations_["rna"].normaliser.depth)
        return sc.pp.log1p(of, copy=True).X[:, columns]

    cells = open_cells(mdata, model=model)
    found = cells.max_correlation("rna", columns, np.random.default_rng(0))
    expected = max_correlation(mdata["rna"].X, normalise=normalised, rng=np.random.default_rng(0))
    assert_allclose(found, expected, atol=1e-5)
    assert ((found > 0) & (found <= 1)).all()
    rna = mdata["rna"][:, 1:].copy()  # without the first
    some = open_cells(MuData({"rna": rna, "protein": mdata["protein"]}), model=model)
    limits = some.max_correlation("rna", columns, np.random.default_rng(0))
    assert_array_equal(np.isnan(limits), [False, True, False])


def test_the_limit_of_features_of_many_cells_is_that_of_some(trained, monkeypatch):
    mdata, model = trained
    cells, taken = open_cells(mdata, model=model), []
    monkeypatch.setattr("jamie.data._cells.MOST_SPLIT", 50)
    monkeypatch.setattr("jamie.data._cells.max_correlation", lambda counts, **_: taken.append(counts) or np.nan)
    for seed in (0, 0, 1):
        cells.max_correlation("rna", np.array([5, 0]), np.random.default_rng(seed))
    known = {cell.tobytes(): i for i, cell in enumerate(mdata["rna"].X.toarray())}
    rows = [[known[cell.tobytes()] for cell in counts.toarray()] for counts in taken]
    assert [len(set(of)) for of in rows] == [50] * 3
    assert rows[0] == rows[1] == sorted(rows[0]) != rows[2]
    monkeypatch.setattr("jamie.data._cells.MOST_SPLIT", len(cells.cells("rna")))
    cells.max_correlation("rna", np.array([5, 0]), np.random.default_rng(0))
    assert taken[-1].shape[0] == mdata["rna"].n_obs


@pytest.mark.parametrize("copy", [False, True])
def test_an_anndata_is_written_to_or_its_copy(toy, copy):
    adata = toy["rna"]
    opened = writable_one(adata, "rna", copy=copy)
    assert list(opened.mod) == ["rna"]
    assert (opened["rna"] is adata) != copy
    assert writable_one(toy, None, copy=False) is toy
    with pytest.raises(TypeError, match="say which modality it is: pass query='rna'"):
        writable_one(adata, None, copy=copy, argument="query")
    with pytest.raises(TypeError, match="say which modality it is: pass modality='rna'"):
        writable_one(adata, None, copy=copy)


# cells of several modalities, and their partners


@pytest.fixture
def joint(make_mdata, rng):
    """Cells c0 to c9 in x and c3 to c12 in y, some in z: by name for y, for x as told; c2, c5 and c20 are held out."""
    cells = {
        "x": [f"c{i}" for i in range(10)],
        "y": [f"c{i}" for i in range(3, 13)],
        "z": ["c9", "c4", "c5", "c1", "c6", "c20", "c12"],
    }
    mdata = make_mdata(cells, **{name: rng.normal(size=(len(of), 3)) for name, of in cells.items()})
    told = {"c4": "c4", "c5": "c5", "c6": "c6", "c7": "c20", "c8": "c12", "c9": "c9"}
    jm.pp.correspondence(mdata, modalities=["x", "z"], pairs=pd.DataFrame({"x": list(told), "z": list(told.values())}))
    mdata.obs["jamie_split"] = np.where(mdata.obs_names.isin(["c2", "c5", "c20"]), "test", "train")
    return mdata


def test_cells_of_several_sources_are_those_in_all_of_them_with_their_partner(joint):
    """c7 is learned from and its partner held out, so that it is neither learned from here nor judged."""
    cells = open_cells(joint)
    joined = cells.joined(["x", "y"], "z")
    named = [
        list(zip(*(cells.cells(name)[rows[name]] for name in "xyz"), strict=True))
        for rows in (joined.train, joined.test)
    ]
    assert sorted(named[0]) == [("c4", "c4", "c4"), ("c6", "c6", "c6"), ("c8", "c8", "c12"), ("c9", "c9", "c9")]
    assert named[1] == [("c5", "c5", "c5")]
    assert joined.cells == "held-out"
    assert cells.joined(["x", "y"], "z") is joined
    assert len(cells.joined(["x"], "z").train["z"]) == 4
    joint.obs["jamie_split"] = "train"
    everyone = open_cells(joint).joined(["x", "y"], "z")
    assert everyone.cells == "in-sample"
    assert {len(rows) for rows in (*everyone.train.values(), *everyone.test.values())} == {6}


def test_what_a_cell_is_with_its_partners_is_what_was_seen_of_any(joint):
    cells = open_cells(joint)
    by_x = {
        **dict.fromkeys(["c0", "c1", "c3", "c4", "c6", "c7", "c8", "c9"], "train"),
        "c2": "held-out",
        "c5": "held-out",
    }
    assert dict(zip(cells.cells("x"), cells.role_names("x", "z"), strict=True)) == by_x
    by_y = {f"c{i}": "held-out" if i == 5 else "train" for i in range(3, 13)}
    either = dict(zip(cells.obs_names, cells.role_names(["x", "y"], "z"), strict=True))
    assert {cell: role for cell, role in either.items() if isinstance(role, str)} == by_x | by_y
    assert list(either) != list(by_x | by_y)  # c20 is in neither
    assert_array_equal(cells.role_with_partner("z", "z"), cells.role("z"))
    assert cells.role("x").dtype == np.uint8
    del joint.obs["jamie_split"]
    assert open_cells(joint).role("x").dtype == np.uint8  # a byte a cell, with a split or without
    joint.obs["jamie_split"] = np.where(joint.obs_names.isin(["c7", "c20"]), "test", "train")
    said = [open_cells(joint).role_names(names, "z") for names in ("x", ["x", "y"])]
    assert [list(of).count("held-out") for of in said] == [1, 1]


def test_a_model_remembers_of_which_cells_it_was_told_a_partner(mdata, model):
    cells = model.open(mdata)
    for a, b in (("rna", "protein"), ("protein", "rna")):
        expected = cells.cells(a).isin(cells.cells(b)[cells.train(b)]) & cells.train(a)
        assert 0 < expected.sum() < len(expected)
        assert_array_equal(cells.knew_partner(a, b), expected)
    alone = MuData({"rna": mdata["rna"][::-1].copy()})
    alone["rna"].X.data[: alone["rna"].X.indptr[1]] += np.arange(1, alone["rna"].X.indptr[1] + 1)
    alone["rna"].obs_names = ["another", *alone["rna"].obs_names[1:]]
    alone.update()
    found = model.open(alone).knew_partner("rna", "protein")
    assert_array_equal(found[1:], cells.knew_partner("rna", "protein")[::-1][1:])
    assert not found[0]


def test_what_is_known_of_features_goes_by_the_names_of_the_model(mdata, model):
    rna = mdata["rna"]
    rna.var["symbol"], rna.var["size"] = rna.var_names, np.arange(40)
    rna.var_names = [f"id{i}" for i in range(40)]
    anew = MuData(dict(mdata.mod))
    var = model.open(anew, feature_names="symbol").var("rna")
    assert list(var.index) == list(var["symbol"])
    assert_array_equal(var["size"], np.arange(40))
    assert rna.var_names[0] == "id0"


# what is said, word by word


def said(function):
    with pytest.raises(jm.JamieError) as error:
        function()
    return error.value.args[0]


def test_a_layer_that_is_not_there_is_told_with_what_would_do(mdata, model):
    rna, protein = mdata["rna"], mdata["protein"]
    rna.layers["counts"] = rna.X.copy()
    none = "expected the layer {!r} in `mdata[{!r}].layers`{}, found {}; {}"
    cells = open_cells(mdata)
    assert said(lambda: cells.matrix("rna", "cuonts")) == none.format(
        "cuonts", "rna", "", ["counts"], "did you mean 'counts'?"
    )
    assert said(lambda: cells.matrix("protein", "counts")) == none.format(
        "counts", "protein", "", [], "pass layer={'rna': 'counts'}, for the modalities that have it"
    )
    assert said(lambda: cells.matrix("rna", "zzz")) == none.format(
        "zzz", "rna", "", ["counts"], "pass layer={'rna': 'X'}, which holds whole numbers"
    )
    rna.X, protein.X = rna.X.log1p(), protein.X * 0.5
    assert said(lambda: open_cells(mdata).matrix("rna", "zzz")) == none.format(
        "zzz", "rna", "", ["counts"], "pass layer={'rna': 'counts'}, which holds whole numbers"
    )
    store = "store it, or pass layer={'protein': 'X'} if `.X` holds these values"
    assert said(lambda: open_cells(mdata).matrix("protein", "zzz")) == none.format("zzz", "protein", "", [], store)
    which, asked = ", which the model was trained on", {"protein": "counts"}
    assert said(lambda: model.open(mdata).matrix("protein", "counts")) == none.format(
        "counts", "protein", which, [], store
    )
    assert said(lambda: model.open(mdata, layer=asked).matrix("protein", "counts")) == none.format(
        "counts", "protein", "", [], "pass layer={'rna': 'counts'}, for the modalities that have it"
    )


def test_values_that_are_not_there_are_told_with_what_would_do(mdata):
    more = ad.AnnData(np.ones((60, 2), np.float32), obs=pd.DataFrame(index=jm.datasets.toy().obs_names))
    wide = MuData({"rna": mdata["rna"], "protein": mdata["protein"], "more": more})
    wide["rna"].layers["counts"] = wide["rna"].X.copy()
    leave = (
        "leave 'rna' out: modalities=['protein', 'more'], or "
        "mudata.MuData({'protein': mdata.mod['protein'], 'more': mdata.mod['more']})"
    )
    wide["rna"].X = None
    assert said(lambda: open_cells(wide).matrix("rna")) == (
        f"expected values in `mdata['rna'].X`, found none (40 features); pass layer={{'rna': 'counts'}}, or {leave}"
    )
    bare = MuData({name: wide[name] if name != "rna" else wide["rna"][:, :0].copy() for name in wide.mod})
    assert said(lambda: open_cells(bare).matrix("rna", "counts")) == (
        f"expected values in `mdata['rna'].layers['counts']`, found none (0 features); {leave}"
    )
