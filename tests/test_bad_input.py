"""Bad input: what was expected, what was found, what to do; and the MuData as it was."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Mapping

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_array_equal
from scipy import sparse

import jamie as jm
from jamie._errors import JamieError


def assert_same(found, expected):
    if isinstance(expected, Mapping):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    elif sparse.issparse(expected):
        assert_array_equal(found.toarray(), expected.toarray())
    else:
        assert_array_equal(np.asarray(found), np.asarray(expected))


def slots(mdata):
    """Copies of all that a MuData holds."""
    found = {"obs": mdata.obs.copy(), "var": mdata.var.copy()}
    found |= {slot: {key: deep(v) for key, v in getattr(mdata, slot).items()} for slot in ("obsm", "obsp", "uns")}
    for name, adata in mdata.mod.items():
        found[name] = {"X": adata.X.copy(), "obs": adata.obs.copy(), "var": adata.var.copy()}
        for slot in ("obsm", "varm", "layers", "uns"):
            found[name][slot] = {key: deep(value) for key, value in getattr(adata, slot).items()}
    return found


def deep(value):
    if isinstance(value, Mapping):
        return {key: deep(item) for key, item in value.items()}
    return value.copy() if hasattr(value, "copy") else value


def refuse(mdata, call, error, *parts):
    """The call raises; its message has the parts, in order; nothing in `mdata` changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = slots(mdata)
    with pytest.raises(error) as raised:
        call(mdata)
    message = str(raised.value.args[0])
    assert re.search(".*".join(map(re.escape, parts)), message, re.DOTALL), message
    assert "np.str_" not in message
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(slots(mdata), before)


def with_x(mdata, name, change):
    """The same MuData with the dense values of one modality changed, stored as they were."""
    x = mdata[name].X
    dense = x.toarray() if sparse.issparse(x) else x.copy()
    change(dense)
    mdata[name].X = sparse.csr_matrix(dense) if sparse.issparse(x) else dense
    return mdata


READERS = {
    "pp.split": jm.pp.split,
    "pp.correspondence": jm.pp.correspondence,
    "pp.prepare": jm.pp.prepare,
    "tl.train": lambda mdata: jm.tl.train(mdata, max_steps=1),
    "JAMIE.fit": lambda mdata: jm.JAMIE(max_steps=1).fit(mdata),
}
MODEL_USERS = {
    "tl.embed": jm.tl.embed,
    "tl.impute": lambda mdata, model: jm.tl.impute(mdata, model, source="rna", target="protein"),
    "tl.reconstruct": lambda mdata, model: jm.tl.reconstruct(mdata, model, modality="rna"),
    "tl.complete": jm.tl.complete,
    "tl.evaluate": lambda mdata, model: jm.tl.evaluate(mdata, model, baselines=[]),
}
readers = pytest.mark.parametrize("call", READERS.values(), ids=READERS)
model_users = pytest.mark.parametrize("call", MODEL_USERS.values(), ids=MODEL_USERS)
trainers = pytest.mark.parametrize("call", [READERS["pp.prepare"], READERS["tl.train"]], ids=["pp.prepare", "tl.train"])


class TestNotAMuData:
    PARTS = ("expected a MuData, found AnnData", "mudata.MuData(")

    @readers
    def test_in_training(self, toy, call):
        with pytest.raises(TypeError, match=".*".join(map(re.escape, self.PARTS))):
            call(toy["rna"])

    @pytest.mark.parametrize("name", ["tl.embed", "tl.complete", "tl.evaluate"])
    def test_with_a_model_that_is_not_told_which_modality(self, trained, name):
        mdata, model = trained
        with pytest.raises(TypeError, match="expected a MuData, found AnnData; say which modality it is"):
            MODEL_USERS[name](mdata["rna"], model)

    @pytest.mark.parametrize("room", [jm.get, jm.pl, jm.tl, jm.pp], ids=lambda room: room.__name__)
    @pytest.mark.parametrize("given", [None, "cells.h5mu", pd.DataFrame({"uns": [1]}), "adata"], ids=repr)
    def test_in_every_reader(self, trained, room, given):
        mdata, model = trained
        is_adata = isinstance(given, str) and given == "adata"
        named = {"source": "rna", "target": "protein", "labels": "cell_type", "groupby": "cell_type", "path": "x.html"}
        asked = []
        for name in room.__all__:
            parameters = inspect.signature(getattr(room, name)).parameters
            of_mdata = parameters.get("mdata")
            if of_mdata is None or (is_adata and "AnnData" in str(of_mdata.annotation)):
                continue
            needed = [key for key, of in parameters.items() if of.default is of.empty and key not in ("mdata", "model")]
            kept = [model] if "model" in parameters else []
            with pytest.raises(JamieError, match="expected"):
                getattr(room, name)(
                    mdata["rna"] if is_adata else given, *kept, **{key: named.get(key, "rna") for key in needed}
                )
            asked.append(name)
        assert asked

    def test_something_else(self):
        with pytest.raises(TypeError, match="expected a MuData, found str"):
            jm.tl.train("cells.h5mu")


@readers
def test_one_modality_only(toy, call):
    mdata = MuData({"rna": toy["rna"].copy()})
    refuse(mdata, call, ValueError, "expected at least two modalities, found 1: ['rna']", "has ['rna']")


@pytest.mark.parametrize(
    "call",
    [
        lambda mdata: jm.pp.prepare(mdata, modalities=["rna", "protien"]),
        lambda mdata: jm.pp.correspondence(mdata, modalities=["rna", "protien"]),
        lambda mdata: jm.tl.train(mdata, modalities=["rna", "protien"]),
    ],
)
def test_a_modality_that_is_not_there(toy, call):
    refuse(toy, call, KeyError, "['rna', 'protein'], found 'protien'", "did you mean 'protein'?")


class TestDuplicateNames:
    @staticmethod
    def repeated(mdata, axis):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rna = mdata["rna"].copy()
            names = list(getattr(rna, f"{axis}_names"))
            setattr(rna, f"{axis}_names", [*names[:3], names[0], names[1], *names[5:]])
            return MuData({"rna": rna, "protein": mdata["protein"].copy()})

    @readers
    @pytest.mark.parametrize("axis", ["obs", "var"])
    def test_in_training(self, toy, axis, call):
        mdata, first = self.repeated(toy, axis), {"obs": "cell", "var": "gene"}[axis]
        expected = f"expected unique names in `mdata['rna'].{axis}_names`, found 2 repeated, first '{first}1'"
        refuse(mdata, call, ValueError, expected, f"call mdata['rna'].{axis}_names_make_unique()")

    @model_users
    @pytest.mark.parametrize("axis", ["obs", "var"])
    def test_with_a_model(self, trained, axis, call):
        mdata, model = trained
        mdata = self.repeated(mdata, axis)
        expected = f"expected unique names in `mdata['rna'].{axis}_names`, found 2 repeated"
        refuse(mdata, lambda m: call(m, model), ValueError, expected)


def test_no_cells_in_common_and_no_pairs_given():
    mdata = jm.datasets.toy(share_paired=0)
    parts = ("with a partner in another modality, found none", "call jm.pp.correspondence(mdata, pairs=")
    refuse(mdata, READERS["tl.train"], ValueError, *parts)
    refuse(mdata, READERS["pp.split"], ValueError, "found none; call jm.pp.correspondence(mdata, pairs=")
    refuse(
        mdata, READERS["pp.correspondence"], ValueError, "expected at least one pair of 'rna' and 'protein'", "pairs="
    )


def test_one_modality_of_three_without_partners(toy):
    alone = ad.AnnData(np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    alone.obs_names = [f"other{i}" for i in range(20)]
    mdata = MuData({"rna": toy["rna"], "protein": toy["protein"], "ephys": alone})
    refuse(mdata, READERS["tl.train"], ValueError, "`mdata['ephys']`", "found none", "jm.pp.correspondence")


def test_a_table_of_pairs_with_unknown_names(toy):
    table = pd.DataFrame({"gene cell": ["cell1", "cel2", "c3"], "protein cell": [*toy["protein"].obs_names[:3]]})
    parts = ("column 'gene cell'", "found 2 unknown of 3, first 'cel2'", "names look like")
    refuse(toy, lambda mdata: jm.pp.correspondence(mdata, pairs=table), ValueError, *parts)
    table.iloc[:, 0] = toy["rna"].obs_names[:3]
    table.iloc[1, 1] = "nobody"
    parts = ("column 'protein cell'", "found 1 unknown of 3, first 'nobody'")
    refuse(toy, lambda mdata: jm.pp.correspondence(mdata, pairs=table), ValueError, *parts)


@pytest.mark.parametrize("name", ["rna", "protein"])
@pytest.mark.parametrize("kind", ["counts", "protein", "accessibility"])
def test_negative_values_in_counts(toy, name, kind):
    def change(x):
        x[4, 2] = -1
        x[5, 3] = -2

    first = {"rna": "gene3", "protein": "protein3"}[name]
    refuse(
        with_x(toy, name, change),
        lambda mdata: jm.pp.prepare(mdata, kinds={name: kind}),
        ValueError,
        f"expected no negative value in `mdata['{name}']`, of kind '{kind}', found 2, first in feature '{first}'",
        "layer=",
        f"kinds={{'{name}': 'continuous'}}",
    )


def test_negative_values_in_a_prepared_layer_of_counts(toy):
    toy["rna"].layers["scaled"] = toy["rna"].X.toarray() - 1
    call = lambda mdata: jm.pp.prepare(mdata, kinds={"rna": "counts"}, layer={"rna": "scaled"})  # noqa: E731
    refuse(toy, call, ValueError, "expected no negative value")


@trainers
@pytest.mark.parametrize("name", ["rna", "protein"])
@pytest.mark.parametrize("what", ["feature", "cell"])
def test_a_feature_or_cell_without_a_value(toy, name, what, call):
    def change(x):
        if what == "feature":
            x[:, 5] = np.nan
        else:
            x[5] = np.nan

    first = {"feature": toy[name].var_names, "cell": toy[name].obs_names}[what][5]
    parts = (f"a measured value in every {what} of `mdata['{name}'].X`, found 1", f"first '{first}'; drop it")
    refuse(with_x(toy, name, change), call, ValueError, *parts)


@trainers
@pytest.mark.parametrize("name", ["rna", "protein"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values(toy, name, value, call):
    def change(x):
        x[8, 3] = x[9, 4] = value

    first = {"rna": "gene4", "protein": "protein4"}[name]
    parts = (f"finite values or NaN in `mdata['{name}'].X`, found 2 infinite, first in feature '{first}'", "NaN")
    refuse(with_x(toy, name, change), call, ValueError, *parts)


def test_infinite_values_in_new_cells(trained):
    _, model = trained
    new = with_x(jm.datasets.toy(rng=1), "protein", lambda x: x.__setitem__((0, 0), np.inf))
    refuse(new, lambda mdata: jm.tl.embed(mdata, model), ValueError, "found 1 infinite, first in feature 'protein1'")


def test_fewer_cells_than_a_batch(toy):
    parts = ("expected at least 1000 training cells for batch_size=1000, found 60", "pass batch_size=60 or less")
    refuse(toy, lambda mdata: jm.tl.train(mdata, batch_size=1000), ValueError, *parts)
    jm.pp.split(toy)
    refuse(toy, lambda mdata: jm.tl.train(mdata, batch_size=52), ValueError, "found 51; pass batch_size=51 or less")


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_a_handful_of_cells(recipe):
    mdata = jm.datasets.toy(n_cells=5)
    call = lambda mdata: jm.tl.train(mdata, recipe=recipe)  # noqa: E731
    refuse(mdata, call, ValueError, "expected at least 10 training cells, found 5")


def test_a_target_feature_that_does_not_exist(trained):
    mdata, model = trained
    call = lambda mdata: jm.tl.impute(mdata, model, source="rna", target="protein", features=["Protein2"])  # noqa: E731
    refuse(mdata, call, KeyError, "features of 'protein'", "found 'Protein2'", "did you mean 'protein2'")


@pytest.mark.parametrize(
    "call", [MODEL_USERS[name] for name in ("tl.embed", "tl.impute", "tl.reconstruct", "tl.evaluate")]
)
def test_a_model_trained_on_other_features(trained, call):
    _, model = trained
    new = jm.datasets.toy(rng=1)
    new["rna"].var_names = [f"ENSG{i:05}" for i in range(40)]
    new.update()
    parts = ("at least 10% of the 40 features of 'rna'", "found 0 in `mdata['rna'].var_names`, missing first 'gene1'")
    refuse(new, lambda mdata: call(mdata, model), ValueError, *parts, "jm.tl.train(mdata)")


class TestModelFiles:
    """Each kind of broken file is in tests/model/test_persist.py; here that a MuData at hand is left alone."""

    @pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
    def test_not_a_model(self, tmp_path, content):
        path = tmp_path / "model.jamie"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"expected a model written by model\.save in `.*`, found a file"):
            jm.JAMIE.load(path)

    def test_truncated(self, trained, tmp_path):
        mdata, model = trained
        path = tmp_path / "model.jamie"
        model.save(path)
        path.write_bytes(path.read_bytes()[:-1])
        refuse(mdata, lambda m: jm.tl.embed(m, jm.JAMIE.load(path)), ValueError, "truncated")


class TestSlotsOfAnotherVersion:
    @pytest.mark.parametrize("schema", [99, 0])
    def test_preparation(self, toy, schema):
        jm.pp.prepare(toy)
        toy["rna"].uns["jamie_input"]["schema"] = schema
        parts = (f"expected schema 1 in `mdata['rna'].uns['jamie_input']`, found {schema}", "another version of jamie")
        refuse(toy, READERS["tl.train"], ValueError, *parts, "call jm.pp.prepare(mdata) again")

    def test_preparation_without_a_schema(self, toy):
        jm.pp.prepare(toy)
        del toy["protein"].uns["jamie_input"]["schema"]
        refuse(
            toy, READERS["tl.train"], ValueError, "expected schema 1", "found none", "call jm.pp.prepare(mdata) again"
        )
        toy["protein"].uns["jamie_input"] = "something else"
        refuse(
            toy, READERS["tl.train"], ValueError, "expected schema 1", "found none", "call jm.pp.prepare(mdata) again"
        )

    def test_preparation_that_lost_a_part(self, toy):
        jm.pp.prepare(toy)
        del toy["rna"].uns["jamie_input"]["mean"]
        refuse(
            toy, READERS["tl.train"], ValueError, "mdata['rna'].uns['jamie_input']", "call jm.pp.prepare(mdata) again"
        )

    @pytest.mark.parametrize("call", [jm.get.history, jm.pl.history], ids=["get.history", "pl.history"])
    def test_training(self, trained, call):
        mdata, _ = trained
        mdata.uns["jamie"] = {**mdata.uns["jamie"], "schema": 99}
        parts = ("expected schema 1 in `mdata.uns['jamie']`, found 99", "another version", "call jm.tl.train(mdata)")
        refuse(mdata, call, ValueError, *parts)
        mdata.uns["jamie"] = {"epochs": 3}
        refuse(mdata, call, ValueError, "found none", "call jm.tl.train(mdata)")

    def test_imputation(self, trained):
        mdata, model = trained
        jm.tl.impute(mdata, model, source="rna", target="protein")
        mdata["rna"].uns["jamie_imputed_protein"]["schema"] = 99
        call = lambda mdata: jm.pl.imputation(mdata, source="rna", target="protein")  # noqa: E731
        refuse(mdata, call, ValueError, "expected schema 1", "found 99", "call jm.tl.impute")

    def test_training_again_needs_nothing_of_the_old_slot(self, toy):
        toy.uns["jamie"] = {"schema": 99}
        jm.tl.train(toy, max_steps=1)
        assert len(jm.get.history(toy)) == 1


class TestViews:
    @pytest.mark.parametrize("name", ["pp.split", "pp.correspondence", "pp.prepare"])
    def test_before_training(self, toy, name):
        view = toy[toy.obs["cell_type"] != "type B"]
        before = slots(toy)
        refuse(view, READERS[name], ValueError, "found a view of another; call mdata = mdata.copy() first")
        assert_same(slots(toy), before)

    def test_before_the_work_of_training(self, toy, monkeypatch):
        def never(*_, **__):
            pytest.fail("trained before the view was refused")

        monkeypatch.setattr("jamie.model._jamie.fit", never)
        view = toy[toy.obs["cell_type"] != "type B"]
        refuse(view, READERS["tl.train"], ValueError, "found a view of another; call mdata = mdata.copy() first")

    @pytest.mark.parametrize("name", ["tl.embed", "tl.impute", "tl.reconstruct", "tl.evaluate"])
    def test_with_a_model(self, trained, name):
        mdata, model = trained
        view = mdata[mdata.obs["cell_type"] != "type B"]
        before = slots(mdata)
        refuse(view, lambda m: MODEL_USERS[name](m, model), ValueError, "found a view of another")
        assert_same(slots(mdata), before)

    def test_a_copy_of_a_view_is_written_to(self, trained):
        mdata, model = trained
        view = mdata[mdata.obs["cell_type"] != "type B"]
        copied = jm.tl.embed(view, model, key_added="mine", copy=True)
        assert copied["rna"].obsm["X_mine"].shape[0] == view["rna"].n_obs
        assert "X_mine" not in mdata["rna"].obsm
        whole = jm.tl.complete(view, model)
        assert whole.n_obs == view.n_obs
