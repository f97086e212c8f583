"""A column of cells, wherever it stands."""

from __future__ import annotations

from itertools import count

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_array_equal

from jamie._errors import InvalidValueError, MissingNameError, WrongTypeError
from jamie.data import as_text, label_codes, labels

FEATURE = count()


def modality(cells, **columns):
    """Cells named by letters, and a feature of a name of its own."""
    obs, var = pd.DataFrame(columns, index=list(cells)), pd.DataFrame(index=[f"feature{next(FEATURE)}"])
    return ad.AnnData(np.zeros((len(cells), 1), dtype=np.float32), obs=obs, var=var)


@pytest.fixture(params=[False, True], ids=["mudata as it will be", "mudata as it was"])
def joined(request, without_pull):
    """Function that makes a MuData of modalities; columns are pulled up to `mdata.obs`, or are not."""

    if request.param and not hasattr(md, "set_options"):
        pytest.skip("mudata 0.4 pulls no columns")

    def join(**modalities):
        with md.set_options(pull_on_update=True) if request.param else without_pull():
            return MuData(modalities)

    return join


@pytest.fixture
def bare(without_pull):
    """Function that makes a MuData of modalities whose `.obs` has no columns."""

    def join(**modalities):
        with without_pull():
            return MuData(modalities)

    return join


def test_a_column_of_one_modality_is_found_for_the_cells_of_another(joined):
    mdata = joined(rna=modality("abc", kind=pd.Categorical(["x", "y", "x"])), atac=modality("cad"))
    for name, expected in (("rna", ["x", "y", "x"]), ("atac", ["x", "x", None])):
        values = labels(mdata, "kind", name)
        assert_array_equal(values.index, mdata[name].obs_names)
        assert values.astype(object).where(values.notna(), None).tolist() == expected
        assert list(values.cat.categories) == ["x", "y"]
        assert values.name == "kind"


def test_the_modalitys_own_column_comes_first_and_its_missing_values_are_kept(bare, capsys):
    mdata = bare(rna=modality("abc", kind=["own", None, "own"]), atac=modality("abc", kind=["other"] * 3))
    mdata.obs["kind"] = ["joint", "joint", "own"]
    own = labels(mdata, "kind", "rna")
    assert own.isna().tolist() == [False, True, False]
    assert own.dropna().tolist() == ["own", "own"]
    assert "'kind' is another in `mdata['rna'].obs` than in `mdata.obs` for 1 of 3 cells" in capsys.readouterr().err


def test_the_joint_column_comes_before_those_of_other_modalities(bare, capsys):
    mdata = bare(rna=modality("abc"), atac=modality("cb", kind=["of atac", "of atac"]))
    mdata.obs["kind"] = pd.Series(["joint", None, "joint"], index=list("abc"), dtype=object)
    assert labels(mdata, "kind", "rna").tolist() == ["joint", "of atac", "joint"]
    assert not capsys.readouterr().err


def test_cells_that_no_other_modality_has_are_missing(bare):
    mdata = bare(rna=modality("ab", kind=["x", "y"]), atac=modality("cd"))
    values = labels(mdata, "kind", "atac")
    assert values.isna().all()
    assert list(values.index) == ["c", "d"]


def test_several_modalities_fill_each_others_gaps_in_their_order(bare):
    mdata = bare(
        rna=modality("abcd"),
        one=modality("ab", kind=pd.Categorical(["x", None], categories=["z", "x"])),
        two=modality("abc", kind=pd.Categorical(["y", "y", "x"], categories=["x", "y"])),
    )
    values = labels(mdata, "kind", "rna")
    assert values.astype(object).where(values.notna(), None).tolist() == ["x", "y", "x", None]
    assert list(values.cat.categories) == ["z", "x", "y"]


@pytest.mark.parametrize(
    ("column", "dtype"),
    [([1, 2, 3], "int64"), ([0.5, np.nan, 2.0], "float64"), ([True, False, True], "bool"), (["a", "b", "c"], "object")],
)
def test_values_keep_their_type_where_all_are_there(bare, column, dtype):
    mdata = bare(rna=modality("abc", kind=column), atac=modality("cab"))
    assert labels(mdata, "kind", "rna").tolist()[0] == column[0]
    values = labels(mdata, "kind", "atac")
    assert values.equals(pd.Series([column[i] for i in (2, 0, 1)], index=list("cab")))
    if dtype != "object":  # of text pandas has several types
        assert values.dtype == dtype


def test_numbers_of_fewer_cells_stay_numbers(bare):
    mdata = bare(rna=modality("ab", depth=[1, 2]), atac=modality("abc"))
    assert labels(mdata, "depth", "atac").dtype == float
    assert_array_equal(labels(mdata, "depth", "atac"), [1, 2, np.nan])


def test_all_cells_of_the_mudata(bare):
    mdata = bare(rna=modality("ab", kind=["x", "y"]), atac=modality("bc", kind=["z", "z"]))
    assert labels(mdata, "kind").tolist() == ["x", "y", "z"]
    mdata.obs["kind"] = ["joint", None, None]
    assert labels(mdata, "kind").tolist() == ["joint", "y", "z"]


def test_nothing_is_changed(bare):
    mdata = bare(rna=modality("ab", kind=pd.Categorical(["x", "y"])), atac=modality("bc"))
    mdata.obs["other"] = ["p", "q", "r"]
    for column in ("kind", "other"):
        found = labels(mdata, column, "rna")
        found[:] = None
    assert mdata["rna"].obs["kind"].tolist() == ["x", "y"]
    assert mdata.obs["other"].tolist() == ["p", "q", "r"]


def test_a_view_is_read_as_it_is(bare):
    mdata = bare(rna=modality("abc", kind=["x", "y", "z"]), atac=modality("cad"))
    part = mdata[["c", "d"]]
    assert labels(part, "kind", "atac").astype(object).where(lambda v: v.notna(), None).tolist() == ["z", None]


def test_where_it_was_looked_for_and_what_is_close_is_said(bare):
    mdata = bare(rna=modality("ab", my_type=["x", "y"]), atac=modality("ab", depth=[1, 2]))
    mdata.obs["donor"] = ["p", "q"]
    message = (
        r"expected `color` to name a column of `mdata\.obs` or of the `\.obs` of a modality, found 'my_typ' in none: "
        r"`mdata\.obs` has \['donor'\], `mdata\['rna'\]\.obs` has \['my_type'\], "
        r"`mdata\['atac'\]\.obs` has \['depth'\]; did you mean 'my_type' of `mdata\['rna'\]\.obs`\?"
    )
    for name in ("rna", "atac", None):
        with pytest.raises(MissingNameError, match=message):
            labels(mdata, "my_typ", name, argument="color")
    with pytest.raises(MissingNameError, match=r"`modality`.*found 'ran'; did you mean 'rna'"):
        labels(mdata, "my_type", "ran")
    with pytest.raises(WrongTypeError, match=r"expected `labels` as text.*found \['my_type'\]"):
        labels(mdata, ["my_type"], "rna")


def test_many_columns_are_not_all_listed(bare):
    mdata = bare(rna=modality("ab", **{f"c{i}": [0, 1] for i in range(30)}), atac=modality("ab"))
    with pytest.raises(MissingNameError, match=r"'c9' and 20 more\]"):
        labels(mdata, "nothing", "atac")


def test_cells_that_the_mudata_does_not_know_yet_are_refused(bare):
    mdata = bare(rna=modality("ab"), atac=modality("bc"))
    mdata.obs["kind"] = ["x", "y", "z"]
    mdata["rna"].obs_names = ["a", "new"]
    with pytest.raises(InvalidValueError, match=r"found 1 that are not there, first 'new'; call mdata\.update\(\)"):
        labels(mdata, "kind", "rna")


def test_names_that_are_repeated_are_refused(bare):
    mdata = bare(rna=modality("abc", kind=["x", "y", "z"]), atac=modality("ab"))
    mdata["rna"].obs_names = ["a", "a", "b"]
    assert labels(mdata, "kind", "rna").tolist() == ["x", "y", "z"]
    with pytest.raises(InvalidValueError, match=r"`mdata\['rna'\]\.obs_names`, found 1 repeated, first 'a'; call"):
        labels(mdata, "kind", "atac")


def test_codes_are_of_both_and_in_the_order_of_the_categories(bare):
    mdata = bare(
        rna=modality("abc", kind=pd.Categorical(["x", None, "w"], categories=["x", "w"])),
        atac=modality("cd", kind=["w", "v"]),
    )
    rows, columns, names = label_codes(mdata, ("rna", "atac"), "kind")
    assert names == ["x", "w", "v"]
    assert rows.tolist() == [0, -1, 1]
    assert columns.tolist() == [1, 2]


def test_codes_need_a_label_on_both_sides_and_say_where_they_are(bare):
    mdata = bare(rna=modality("ab", kind=["x", "y"]), atac=modality("cd"))
    with pytest.raises(InvalidValueError, match=r"found none for 'atac'; the column is in `mdata\['rna'\]\.obs`"):
        label_codes(mdata, ("rna", "atac"), "kind")


@pytest.mark.parametrize(
    ("stored", "also"),
    [
        (pd.Series([0, 1, 2]), pd.Series([0.0, 1.0, np.nan])),
        (pd.Series([0, 1, 2]), pd.Series(["0", "1", None])),
        (pd.Series([0, 1, 2]), pd.Series(pd.array([0, 1, None], dtype="Int64"))),
        (pd.Series(pd.Categorical([0, 1, 2])), pd.Series(pd.Categorical([0.0, 1.0, np.nan]))),
        (pd.Series([True, False, True]), pd.Series(pd.array([True, False, None], dtype="boolean"))),
        (pd.Series(["a", "b", "c"]), pd.Series(pd.array(["a", "b", None], dtype="string"))),
        (pd.Series(["a", "b", "c"]), pd.Series(pd.Categorical(["a", "b", None]))),
    ],
)
def test_the_same_label_is_the_same_text_however_it_is_stored(stored, also):
    text, other = as_text(stored), as_text(also)
    assert text.iloc[:2].tolist() == other.iloc[:2].tolist()
    assert other.iloc[2] is None
    assert all(isinstance(label, str) for label in text)


def test_codes_of_labels_do_not_depend_on_how_numbers_are_stored(bare):
    mdata = bare(rna=modality("abc", cluster=[2, 0, 1]), atac=modality("abc", cluster=[2.0, 0.0, np.nan]))
    of_rna, of_atac, names = label_codes(mdata, ("rna", "atac"), "cluster")
    assert (of_rna.tolist(), of_atac.tolist(), names) == ([2, 0, 1], [2, 0, -1], ["0", "1", "2"])


def test_a_modality_without_cells_has_no_labels(bare):
    mdata = bare(a=modality("ab", kind=["x", "y"]), b=modality(""))
    assert labels(mdata, "kind", "b").index.equals(mdata["b"].obs_names)
    assert list(labels(mdata, "kind", "a")) == ["x", "y"]
