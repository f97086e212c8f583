"""Coordinates from columns or names in many spellings, strands, and pairs within a window against a plain loop."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import jamie as jm
from jamie.data import coordinates, near, require_bases, require_same_chromosomes, starts


def frame(names, **columns):
    return pd.DataFrame(columns, index=list(names))


def genes_on(*chromosomes):
    return pd.DataFrame({"chrom": list(chromosomes), "tss": 50.0, "strand": 1})


def regions_on(*chromosomes):
    return pd.DataFrame({"chrom": list(chromosomes), "start": 40.0, "end": 60.0})


SPELLINGS = {
    "chr1:100-200": ("chr1", 100, 200),
    "chr1-100-200": ("chr1", 100, 200),
    "chr1_100_200": ("chr1", 100, 200),
    "chr1:100_200": ("chr1", 100, 200),
    "chr1:100..200": ("chr1", 100, 200),
    "chr1:100:200": ("chr1", 100, 200),
    "chr1:100–200": ("chr1", 100, 200),
    " chr1:100-200 ": ("chr1", 100, 200),
    "chr1:1,000,100-1,000,200": ("chr1", 1_000_100, 1_000_200),
    "1:100-200": ("1", 100, 200),
    "X-100-200": ("X", 100, 200),
    "MT:0-16569": ("MT", 0, 16_569),
    "2L_100_200": ("2L", 100, 200),
    "hg38_chr1:100-200": ("hg38_chr1", 100, 200),
    "KI270728.1:100-200": ("KI270728.1", 100, 200),
    "GL000194.1-100-200": ("GL000194.1", 100, 200),
    "GL000194.1_100_200": ("GL000194.1", 100, 200),
    "chrUn_KI270742v1:100-200": ("chrUn_KI270742v1", 100, 200),
    "chr1_GL456211_random-100-200": ("chr1_GL456211_random", 100, 200),
    "scaffold_12_100_200": ("scaffold_12", 100, 200),
    "scaffold-12:100-200": ("scaffold-12", 100, 200),
    "HLA-A*01:01:100-200": ("HLA-A*01:01", 100, 200),
    "chr1:100-200-1": ("chr1", 100, 200),  # of var_names_make_unique
    "chr1:248956421-248956422": ("chr1", 248_956_421, 248_956_422),
    "chr1:100-100": ("chr1", 100, 100),
    "chr1:0-1": ("chr1", 0, 1),
}
NO_PLACES = [
    "gene1", "HLA-DRB1", "RP11-34P13.7", "ENSG00000243485", "chr1", "chr1:100", "chr1:-5-100", "chr1::100-200",
    ":100-200", "chr1:100-", "chr1:a-b", "chr1:1.5-2.5", "", "nan", "100-200", "H3-3A", "chr1:100-200bp",
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), SPELLINGS.items(), ids=[name.replace("–", " to ") for name in SPELLINGS])
@pytest.mark.parametrize("where", ["names", "interval"])
def test_coordinates_are_read_from_names_and_intervals(name, expected, where):
    var = frame([name, "chr9:7-9"]) if where == "names" else frame(["g1", "g2"], interval=[name, "chr9:7-9"])
    places = coordinates(var, modality="m")
    assert tuple(places.iloc[0]) == expected
    assert tuple(places.iloc[1]) == ("chr9", 7, 9)
    assert list(places.index) == list(var.index)


@pytest.mark.parametrize("name", NO_PLACES)
def test_other_names_have_no_place(name, caplog):
    places = coordinates(frame([name, "chr9:7-9"]), modality="m")
    assert places.iloc[0].isna().all()
    assert "1 of 2 features of 'm' have no coordinates" in caplog.text
    with pytest.raises(KeyError, match="expected coordinates of 'm'"):
        coordinates(frame([name]), modality="m")


@pytest.mark.parametrize("of_columns", [True, False])
def test_a_start_after_its_end_is_refused(of_columns):
    names = ["chr2:1-2", "chr1:200-100", "chr1_300_20"]
    var = frame(names)
    if of_columns:
        var = frame("abc", chrom=["chr2", "chr1", "chr1"], start=[1, 200, 300], end=[2, 100, 20])
    first = "b" if of_columns else "chr1:200-100"
    with pytest.raises(ValueError, match=rf"found 2 the other way round, first '{first}', from 200 to 100 of 'chr1'; "):
        coordinates(var, modality="m")


def test_columns_come_first_then_intervals_then_names_and_what_has_none_is_missing():
    var = frame(["chr7:1-2", "g2"], interval=["chr2:5-8", "unplaced"])
    places = coordinates(var, modality="m")
    assert places.iloc[0].tolist() == ["chr2", 5, 8]
    assert places.iloc[1].isna().all()
    var["chrom"], var["start"], var["end"] = ["chr3", None], [1, 2], [3.0, 4.0]
    places = coordinates(var, modality="m")
    assert places.iloc[0].tolist() == ["chr3", 1, 3]
    assert places.iloc[1].isna().all()
    var["chrom"], var["interval"] = None, np.nan
    assert coordinates(var, modality="m").iloc[0].tolist() == ["chr7", 1, 2]


@pytest.mark.parametrize(
    ("chrom", "expected"),
    [
        ([1, 2], ["1", "2"]),
        ([1.0, np.nan], ["1", None]),
        (["1.0", "2.0"], ["1", "2"]),
        (pd.Categorical(["chr1", None]), ["chr1", None]),
        (pd.array(["chr1", pd.NA], dtype="string"), ["chr1", None]),
        (pd.array([1, pd.NA], dtype="Int64"), ["1", None]),
        ([" chr1", "NA"], ["chr1", None]),
        (["chr1", "nan"], ["chr1", None]),
        ([b"chr1", "."], ["chr1", None]),
    ],
)
def test_chromosomes_are_text_whatever_the_column(chrom, expected):
    places = coordinates(frame("ab", chrom=chrom, start=[1, 1], end=[2, 2]), modality="m")
    assert [None if pd.isna(name) else name for name in places["chrom"]] == expected


@pytest.mark.parametrize(
    "start",
    [
        ["1000", "5"],
        ["1,000", "5"],
        [1000.0, 5.0],
        pd.array([1000, 5], dtype="Int64"),
        pd.Categorical(["1000", "5"]),
        np.array([1000, 5], dtype=np.uint32),
    ],
)
def test_positions_are_numbers_whatever_the_column(start):
    places = coordinates(frame("ab", chrom="1", start=start, end=[2000, 2000]), modality="m")
    assert places["start"].tolist() == [1000, 5]


@pytest.mark.parametrize("missing", [None, np.nan, "NA", "", -1, np.inf, pd.NA, pd.NaT])
def test_a_feature_without_a_position_has_no_place(missing, caplog):
    start = pd.Series([1, missing], dtype=object)
    places = coordinates(frame("ab", chrom="1", start=start.to_numpy(), end=[2, 2]), modality="m")
    assert places["chrom"].notna().tolist() == [True, False]
    assert "1 of 2 features of 'm' have no coordinates: they are left out" in caplog.text


@pytest.mark.parametrize("wrong", ["100bp", "1e3 kb", "start", "chr1"])
def test_positions_that_are_no_numbers_are_refused_by_name(wrong):
    with pytest.raises(
        jm.JamieError, match=rf"numbers as start and end of the features of 'm', found '{wrong}' for 'b'"
    ):
        coordinates(frame("ab", chrom="1", start=["1", wrong], end=[2, 2]), modality="m")


def test_features_without_coordinates_are_refused_with_the_remedy():
    with pytest.raises(KeyError, match=r"columns 'chrom', 'start' and 'end' in `mdata\['m'\].var`.*'g1'; add columns"):
        coordinates(frame(["g1", "g2"]), modality="m")
    with pytest.raises(KeyError, match="expected coordinates of 'm'"):
        coordinates(frame([]), modality="m")


def test_named_features_are_given_in_their_order_and_others_not_counted(caplog):
    var = frame(["a", "chr1:5-6", "chr2:7-9", "b"])
    places = coordinates(var, modality="m", names=["chr2:7-9", "chr1:5-6"])
    assert places["start"].tolist() == [7, 5]
    assert not caplog.text
    assert coordinates(var, modality="m", names=["chr2:7-9", "unknown"])["start"].isna().tolist() == [False, True]
    assert "1 of 2 features" in caplog.text


MINUS = ["-", "-1", -1, -1.0, np.int8(-1), "−", "–", "−1", "-1.0", "minus", "Minus", "MINUS", "neg", "negative",
         "reverse", "rev", " - ", b"-"]  # fmt: skip
PLUS = ["+", "1", "+1", 1, 1.0, np.int64(1), "1.0", "plus", "Plus", "pos", "positive", "forward", "fwd", " + "]
UNKNOWN = [".", "*", "?", "", 0, 0.0, "0", np.nan, None, pd.NA, pd.NaT, "nan", "NA", "None", "unknown"]


@pytest.mark.parametrize(
    ("values", "expected"), [*(([v], -1) for v in MINUS), *(([v], 1) for v in PLUS), *(([v], 0) for v in UNKNOWN)]
)
@pytest.mark.parametrize("beside", ["+", -1, None])
def test_a_strand_in_any_spelling(values, expected, beside, caplog):
    strand = pd.Series([*values, beside], dtype=object).to_numpy()
    genes = starts(frame("ab", chrom="chr1", start=10, end=90, strand=strand), modality="rna")
    assert genes["tss"].iloc[0] == (90 if expected < 0 else 10)
    assert genes["strand"].iloc[0] == (expected or 1)
    n_unknown = (expected == 0) + (beside is None)
    said = f"the strand of {n_unknown} of 2 genes of 'rna' is not known"
    assert (said in caplog.text) == (n_unknown > 0)
    assert len(caplog.records) == (n_unknown > 0)


@pytest.mark.parametrize(
    "strand",
    [
        pd.Categorical(["-", "+", "-"]),
        pd.array(["-", "+", "-"], dtype="string"),
        pd.array([-1, 1, -1], dtype="Int8"),
        np.array([-1.0, 1.0, -1.0], dtype=np.float32),
        np.array([-1, 1, -1], dtype=object),
    ],
)
def test_a_strand_in_any_type_of_column(strand):
    genes = starts(frame("abc", chrom="chr1", start=10, end=90, strand=strand), modality="rna")
    assert genes["strand"].tolist() == [-1, 1, -1]
    assert genes["tss"].tolist() == [90, 10, 90]


@pytest.mark.parametrize("wrong", ["x", "2", -2, "+-", "--", "1.5", 0.5, "chr1", True, "yes"])
def test_a_strand_that_cannot_be_read_is_refused_by_its_value(wrong):
    strand = pd.Series(["+", wrong, "-", wrong], dtype=object).to_numpy()
    with pytest.raises(ValueError, match=rf"\['strand'\]`, found '{str(wrong).replace('+', '[+]')}' in 2 of 4 genes"):
        starts(frame("abcd", chrom="chr1", start=10, end=90, strand=strand), modality="rna")


@pytest.mark.parametrize(("column", "remedy"), [(None, "add one"), ("Strand", "rename the column 'Strand'")])
def test_an_absent_strand_is_said_once(column, remedy, caplog):
    var = frame("ab", chrom="chr1", start=10, end=90)
    if column:
        var[column] = "-"
    genes = starts(var, modality="rna")
    assert genes["tss"].tolist() == [10, 10]
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert "no column 'strand' in `mdata['rna'].var`" in caplog.text
    assert "the start site of minus genes is at the wrong end" in caplog.text
    assert remedy in caplog.text


def test_strands_of_genes_that_have_no_place_or_are_not_asked_for_do_not_count(caplog):
    var = frame("abc", chrom=["chr1", "chr1", None], start=10, end=90, strand=["-", "nonsense", "nonsense"])
    assert starts(var, modality="rna", names=["a"])["tss"].tolist() == [90]
    assert not caplog.records
    assert starts(var, modality="rna", names=["c", "a", "new"])["tss"].isna().tolist() == [True, False, True]
    found = starts(var, modality="rna", names=["c", "a", "new"])
    assert found["strand"].tolist() == [1, -1, 1]


@pytest.mark.parametrize("value", [1, 100, 1e5, np.int32(7), np.float64(2e6), 250_000])
def test_a_number_of_bases_is_whole(value):
    bases = require_bases(value, name="window")
    assert bases == value
    assert type(bases) is int


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("100bp", "100"),
        ("100 bp", "100"),
        ("10kb", "10_000"),
        ("10 KB", "10_000"),
        ("2.5kb", "2_500"),
        ("1Mb", "1_000_000"),
        ("250000", "250_000"),
        ("250,000", "250_000"),
        ("2_000", "2_000"),
        ("far", "10_000"),
        ("0kb", "10_000"),
        ("-5", "10_000"),
        (-5, "10_000"),
        (0, "10_000"),
        (0.5, "10_000"),
        (100.5, "10_000"),
        (np.nan, "10_000"),
        (np.inf, "10_000"),
        (True, "10_000"),
        (None, "10_000"),
        ([1000], "10_000"),
        (1j, "10_000"),
        (b"10", "10_000"),
    ],
)
def test_what_is_no_number_of_bases_is_refused_with_what_was_meant(value, meant):
    with pytest.raises(
        ValueError, match=rf"expected `distance` as a number of bases, .*; pass distance={meant}$"
    ) as error:
        require_bases(value, name="distance")
    assert isinstance(error.value, jm.JamieError)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("window", [50, 400, np.inf])
def test_pairs_and_distances_are_those_of_a_plain_loop(window):
    rng = np.random.default_rng(0)
    start = rng.integers(0, 2_000, 40)
    regions = pd.DataFrame({"chrom": rng.choice(["x", "y", None], 40), "start": start, "end": start + 10})
    genes = pd.DataFrame(
        {"chrom": rng.choice(["x", "y", "z", None], 15), "tss": rng.integers(0, 2_000, 15), "strand": 1}
    )
    genes.loc[::2, "strand"] = -1
    expected = {
        (i, j, (r.start + 5 - g.tss) * g.strand)
        for i, r in enumerate(regions.itertuples())
        for j, g in enumerate(genes.itertuples())
        if r.chrom is not None and r.chrom == g.chrom and abs(r.start + 5 - g.tss) <= window
    }
    region, gene, distance = near(regions, genes, window)
    assert len(region) == len(expected)
    assert set(zip(region.tolist(), gene.tolist(), distance.tolist(), strict=True)) == expected


def test_regions_at_one_place_come_in_their_order():
    regions = regions_on(*["x"] * 300)
    regions["start"] += np.tile([2, 0, 1], 100)
    expected = np.arange(300).reshape(100, 3)[:, [1, 2, 0]].T.ravel()
    assert_array_equal(near(regions, genes_on("x"), 100).region, expected)


def test_no_gene_has_a_place():
    genes = pd.DataFrame({"chrom": [None], "tss": [1], "strand": [1]})
    assert [len(part) for part in near(regions_on("x"), genes, 10)] == [0] * 3


NAMINGS = {
    "prefix": (["chr1", "chr2", "chrX"], ["1", "2", "X"], r"var\['chrom'\] = 'chr' \+ "),
    "no prefix": (["1", "2", "X"], ["chr1", "chr2", "chrX"], r"str\.removeprefix\('chr'\)"),
    "case": (["chr1", "chr2"], ["Chr1", "Chr2"], r"replace\(\{'Chr1': 'chr1'"),
    "zeros": (["chr01", "chr02"], ["chr1", "chr2"], r"replace\(\{'chr1': 'chr01'"),
    "build": (["GRCh38_chr1", "hg19_chr2"], ["chr1", "chr2"], r"replace\(\{'chr1': 'GRCh38_chr1'"),
    "mitochondria": (["chrM"], ["MT"], r"replace\(\{'MT': 'chrM'\}"),
    "long": (["chromosome_1"], ["chr1"], r"replace\(\{'chr1': 'chromosome_1'\}"),
    "most": (["chr1", "chr2", "GL1"], ["1", "2", "GL1"], r"2 of 3 genes .*'chr' \+ "),
    "others": (["NC_1", "NC_2"], ["chr1"], r"found regions on 'NC_1', 'NC_2' and genes on 'chr1'; name them alike"),
}


@pytest.mark.parametrize(("regions", "genes", "message"), NAMINGS.values(), ids=NAMINGS)
def test_chromosomes_that_are_named_otherwise_are_found_with_the_remedy(regions, genes, message):
    with pytest.raises(ValueError, match=message) as error:
        require_same_chromosomes(regions_on(*regions), genes_on(*genes), modalities=("atac", "rna"))
    assert "'atac'" in str(error.value)
    assert "rna" in str(error.value)


def test_the_remedy_mends_it():
    mdata = {"rna": frame("ab", chrom=["1", "MT"], start=1, end=2, strand="+")}
    mdata["rna"] = type("Modality", (), {"var": mdata["rna"]})()
    regions = regions_on("chr1", "chrMT")
    for _ in range(2):
        genes = starts(mdata["rna"].var, modality="rna")
        try:
            require_same_chromosomes(regions, genes, modalities=("atac", "rna"))
        except ValueError as error:
            exec(str(error).split("; set ")[1].split(", beside")[0], {"mdata": mdata})
    assert len(near(regions, genes, np.inf).region) == 2


def test_few_genes_on_chromosomes_of_another_name_are_said_and_the_same_names_are_not(caplog):
    names = ("atac", "rna")
    require_same_chromosomes(regions_on("chr1", "chrM"), genes_on("chr1", "chr1", "MT"), modalities=names)
    assert (
        "1 of 3 genes of 'rna' on chromosomes that 'atac' names otherwise, such as 'MT' in place of 'chrM'"
        in caplog.text
    )
    caplog.clear()
    require_same_chromosomes(regions_on("chr1", "chr3"), genes_on("chr1", "chr2", None), modalities=names)
    require_same_chromosomes(regions_on("1", "chr1"), genes_on("1", "chr1"), modalities=names)
    require_same_chromosomes(regions_on("1"), genes_on(None), modalities=names)
    assert not caplog.text


def test_features_without_coordinates_are_told_with_what_is_there():
    expected = (
        "expected coordinates of 'm': columns 'chrom', 'start' and 'end' in `mdata['m'].var`, or names such as "
        "'chr1:100-200', found columns {}; add columns"
    )
    for var, there in (
        (frame(["g1", "g2"], chrom=1), "['chrom'] and names such as 'g1'"),
        (frame([]), "[]"),
    ):
        with pytest.raises(KeyError) as error:
            coordinates(var, modality="m")
        assert error.value.args[0] == expected.format(there)
