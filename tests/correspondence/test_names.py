"""Names that differ in how they are written: the line that is advised is run, and must do what it says."""

from __future__ import annotations

import re

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest

from jamie.correspondence import _names, mend_names, nothing_shared

N = 60
BARCODES = ["".join(letters) for letters in np.random.default_rng(0).choice(list("ACGT"), (N, 12))]
MODALITIES = ("rna", "atac")


def written(pattern, barcodes=BARCODES):
    return pd.Index([pattern.format(b=b, l=b.lower(), i=i, s=i % 3) for i, b in enumerate(barcodes)])


def after(rows, columns, change):
    """Shared names once the advised lines were run."""
    mdata = mudata.MuData(
        {
            name: ad.AnnData(
                np.zeros((len(names), 1), np.float32), obs=pd.DataFrame(index=names), var=pd.DataFrame(index=[name])
            )
            for name, names in zip(MODALITIES, (rows, columns), strict=True)
        }
    )
    space = {"mdata": mdata, "mudata": mudata}
    exec(change.code, space)
    mdata = space["mdata"]
    assert all(adata.obs_names.is_unique for adata in mdata.mod.values())
    return mdata["rna"].obs_names.intersection(mdata["atac"].obs_names)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        ("{b}-1", "{b}", ".str.removesuffix('-1')"),
        ("{b}", "s1_{b}", ".str.removeprefix('s1_')"),
        ("{b}-1_rna", "{b}-1_atac", ".str.removesuffix('_rna')"),
        ("{b}-1_rna", "{b}-1", ".str.removesuffix('_rna')"),
        ("{b}-1_rna", "{b}", ".str.removesuffix('-1_rna')"),
        ("sample1:{b}", "sample2:{b}", ".str.removeprefix('sample1:')"),
        ("{l}", "{b}", ".str.upper()"),
        ("{l}-1", "{b}-1", ".str.upper()"),
        ("{b}.1", "{b}-1", ".str.replace("),
        ("{b}_1", "{b}.1", ".str.replace("),
        ("{b}-1", "{b}-2", ".str.removesuffix('-1')"),
        ("s{s}_{b}", "{b}", ".str.split('_', n=1).str[-1]"),
        ("{b}-{s}", "{b}", ".str.split('-', n=1).str[0]"),
        ("a_b_{b}", "{b}", ".str.removeprefix('a_b_')"),
        ("{b}_s{s}", "s{s}_{b}", ".str.split('_', n=1).str[0]"),
        ("s{s}_{b}-1", "{l}.1", ".str.lower()"),
        ("lib|{b}", "{b}:1-s", ".str.removeprefix('lib|')"),
        (" {b}", "{b}", "' '"),
        ("{b} ", "{b}", "' '"),
        ("b'{b}'", "{b}", ".str.removesuffix("),
        ("X{b}", "{b}", ".str.removeprefix('X')"),
        ("{b}rna", "{b}atac", ".str.removesuffix('rna')"),
        ("rna_{i}", "atac_{i}", ".str.removeprefix('rna_')"),
        ("{i}-atac", "{i}-rna", None),  # the name of the other modality: rows that are counted
        ("cell{i}_rna", "cell{i}_atac", ".str.removesuffix('_rna')"),
    ],
)
def test_the_advised_line_makes_the_names_the_same(one, other, line, swapped):
    rows, columns = written(one), written(other)[::-1]
    if swapped:
        rows, columns = columns, rows
    change = mend_names(rows, columns, MODALITIES)
    if line is None or (swapped and "{i}" in one and "{b}" not in one and "cell" not in one):
        swaps = line is None and swapped
        assert (change is not None) is swaps
        return
    assert change.n_matched == change.n_cells == N
    assert len(after(rows, columns, change)) == N
    if not swapped:
        assert line in change.code
    assert change.example[0] in rows
    assert change.example[1] in columns
    assert change.code.endswith("mdata = mudata.MuData(dict(mdata.mod))")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a{i}", "b{i}"),
        ("a_{i}", "b_{i}"),
        ("{i}", "{i}-1"),
        ("cell {i}", "{i}"),
        ("{b}", "cell{i}"),
        ("{b}-1", "{i}-1"),
        ("{b}_rna", "x{i}_atac"),
    ],
)
def test_numbers_of_rows_and_other_names_give_no_advice(one, other):
    assert mend_names(written(one), written(other), MODALITIES) is None


@pytest.mark.parametrize(("one", "other"), [("{b}", "{b}"), ("{b}-1", "{b}"), ("s_{b}", "{l}"), ("{b}-1", "{b}-1")])
@pytest.mark.parametrize("n_chance", [0, 2])
def test_other_barcodes_give_no_advice(one, other, n_chance):
    others = ["".join(letters) for letters in np.random.default_rng(1).choice(list("ACGT"), (N, 12))]
    assert mend_names(written(one), written(other, BARCODES[:n_chance] + others[n_chance:]), MODALITIES) is None


def test_a_part_that_matches_is_counted():
    rows, columns = written("{b}-1"), written("{b}")[20:50]
    change = mend_names(rows, columns, MODALITIES)
    assert (change.n_matched, change.n_cells) == (30, 30)
    change = mend_names(rows[:40], columns.append(pd.Index([f"other{i}" for i in range(30)])), MODALITIES)
    assert (change.n_matched, change.n_cells) == (20, 40)
    assert "20 of 40 would have a partner" in str(change)
    assert len(after(rows[:40], columns, change)) == 20


def test_where_few_names_are_shared_many_more_may_be():
    rows = written("{b}-1")
    columns = pd.Index([*rows[:3], *BARCODES[3:]])
    change = mend_names(rows, columns, MODALITIES)
    assert change.n_matched == len(after(rows, columns, change)) == N - 3
    mixed = pd.Index([*BARCODES[:3], *rows[3:]])  # some are written as on the other side already
    change = mend_names(mixed, pd.Index(BARCODES), MODALITIES)
    assert change.n_matched == len(after(mixed, pd.Index(BARCODES), change)) == N
    assert mend_names(rows, pd.Index([*rows[:30], *BARCODES[30:]]), MODALITIES) is None  # half is not few
    mixed = pd.Index([*BARCODES[:29], *rows[29:]])
    assert mend_names(mixed, pd.Index(BARCODES), MODALITIES).n_matched == N  # less than half is


def test_a_change_that_makes_two_cells_one_is_not_advised():
    rows = pd.Index([f"s{s}_{b}" for s in (1, 2) for b in BARCODES])
    assert mend_names(rows, pd.Index(BARCODES), MODALITIES) is None
    assert mend_names(pd.Index(["AAAC", "aaac", "CCGT"]), pd.Index(["Aaac", "Ccgt", "CCgt"]), MODALITIES) is None


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_a_few_cells(n):
    change = mend_names(written("{b}-1")[:n], written("{b}"), MODALITIES)
    assert (change is not None) is (n >= 2)


def test_one_name_that_would_match_is_chance():
    columns = pd.Index([BARCODES[0], "other0", "other1", "other2"])
    assert mend_names(written("{b}-1")[:4], columns, MODALITIES) is None
    columns = pd.Index([*BARCODES[:2], "other0", "other1"])
    assert mend_names(written("{b}-1")[:4], columns, MODALITIES).n_matched == 2


def test_many_names_are_sampled_and_all_are_counted(monkeypatch):
    monkeypatch.setattr(_names, "MOST_SAMPLED", 40)
    change = mend_names(written("{b}-1"), written("{b}"), MODALITIES)
    assert change.n_matched == N


def test_names_of_any_type():
    change = mend_names(written("{b}-1").astype("category"), written("{b}").astype("string"), MODALITIES)
    assert change.n_matched == N


def test_the_message_shows_a_name_of_each_side_and_what_to_run():
    names = {"rna": written("{b}-1"), "atac": written("{b}"), "other": written("x{i}")}
    text = nothing_shared(names, [("rna", "other"), ("rna", "atac")])
    assert f"{N} of {N} would have a partner" in text
    assert re.search("as '([ACGT]+)-1' and '\\1'", text)
    assert "run mdata.mod['rna'].obs_names = mdata['rna'].obs_names.str.removesuffix('-1'); mdata = mudata" in text
    text = nothing_shared(names, [("rna", "other")])
    assert f"look like {BARCODES[0] + '-1'!r} in 'rna' and 'x0' in 'other'" in text
    assert "call jm.pp.correspondence(mdata, pairs=...)" in text
    assert "jm.pp.infer_correspondence(mdata)" in text
    assert "none in 'rna'" in nothing_shared({"rna": pd.Index([]), "atac": pd.Index(["a"])}, [MODALITIES])
