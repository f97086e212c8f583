"""Which kind is guessed, and that the line that names it says why."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import jamie as jm
from jamie import data
from jamie.data import SCALES, CellMatrix, detect_kind, open_cells, value_stats
from jamie.data._detect_kind import kind_of_name, note_kind, noted_kind

RNG = np.random.default_rng(0)
DENSE_COUNTS, FEW_COUNTS = (RNG.poisson(mean, (30, 20)).astype(np.float32) for mean in (50, 0.2))
FLOATS = RNG.normal(size=(30, 20)).astype(np.float32)
GAPS = RNG.permutation(600).reshape(30, 20) < 180


def prepare(mdata, name, *, layer=None, **options):
    return data.prepare(open_cells(mdata, layer=layer and {name: layer}), name, **options)


def detect(name, x):
    return detect_kind(name, value_stats(CellMatrix(x), np.ones(x.shape[0], dtype=bool)))


@pytest.mark.parametrize(
    ("name", "x", "kind", "reason"),
    [
        ("rna", FEW_COUNTS, "counts", "^its name says so, and values are whole numbers$"),
        ("rna", DENSE_COUNTS, "counts", "its name says so"),
        ("GEX", sparse.csr_matrix(FEW_COUNTS), "counts", "its name says so"),
        (
            "rna",
            np.log1p(FEW_COUNTS),
            "continuous",
            "^values are not whole numbers though its name says 'counts': normalised already\\?$",
        ),
        ("rna", sparse.csr_matrix(np.log1p(FEW_COUNTS)), "continuous", "not whole numbers though its name says"),
        ("rna", FLOATS, "continuous", "^there are negative values though its name says 'counts': scaled already\\?$"),
        ("rna", np.where(GAPS, np.nan, DENSE_COUNTS), "counts", "whole numbers, but for 30% that are NaN and left out"),
        (
            "rna",
            sparse.csr_matrix(np.where(GAPS, np.nan, FEW_COUNTS)),
            "counts",
            "^its .* numbers, but for 30% that are NaN and left out$",
        ),
        ("adt", np.where(GAPS, np.nan, DENSE_COUNTS), "protein", "30% that are NaN"),
        (
            "x",
            np.where(GAPS, np.nan, FEW_COUNTS),
            "counts",
            "^values .* 8.% of them 0, but for 30% that are NaN and left out$",
        ),
        ("rna", np.where(GAPS, np.nan, np.log1p(FEW_COUNTS)), "continuous", "already[?]$"),
        (
            "atac",
            sparse.csr_matrix(FEW_COUNTS > 0, dtype=np.float32),
            "accessibility",
            "^its name says so, and 8.% of the values are 0$",
        ),
        ("peaks", FEW_COUNTS, "accessibility", "of the values are 0"),
        ("atac", DENSE_COUNTS, "continuous", "^100% of the values are not 0: too many for open regions$"),
        ("atac", FLOATS, "continuous", "negative values though its name says 'accessibility'"),
        ("protein", DENSE_COUNTS, "protein", "its name says so"),
        ("ADT", sparse.csr_matrix(DENSE_COUNTS), "protein", "its name says so"),
        ("prot", FLOATS, "continuous", "negative values though its name says 'protein'"),
        ("protein_expression", DENSE_COUNTS, "protein", "its name says so"),
        ("x", sparse.csr_matrix(FEW_COUNTS), "counts", "^values are whole numbers, 8.% of them 0$"),
        ("x", DENSE_COUNTS, "continuous", "^its name tells no kind, and 100% of the values are not 0$"),
        ("ephys", FLOATS, "continuous", "^there are negative values$"),
        ("ephys", -DENSE_COUNTS, "continuous", "^there are negative values$"),
        ("met", RNG.random((30, 20)), "continuous", "^values are not whole numbers$"),
        ("rna", np.zeros((30, 20), np.float32), "counts", "its name says so"),
        ("rna", sparse.csr_matrix((30, 20), dtype=np.float32), "continuous", "^no value differs from 0$"),
    ],
)
def test_kind_follows_from_name_and_values_and_says_why(name, x, kind, reason):
    found = detect(name, x)
    assert found.kind == kind
    assert re.search(reason, found.reason)
    assert kind in SCALES


NAMES = {
    "counts": [
        "rna", "RNA", "mRNA", "scRNA", "snRNA-seq", "rna_2", "rna2", "gex", "GEX", "gene", "genes", "Gene Expression",
        "gene_expression", "expression", "transcriptome", "citeseq_rna", "CITEseq_RNA", "cite.rna", "protein_coding",
        "protein_coding_genes", "protein-coding", "adt_rna", "multiome_gex", "atac_gene_activity", "GeneActivity",
        "atac_rna", "peaks_rna", "rna_of_antibody_sorted_cells", "genes_near_peaks", "antibody_genes", "rnaseq",
        "genes_from_atac", "spliced_rna", "surface_rna", "umis", "noncoding_rna",
    ],
    "protein": [
        "protein", "proteins", "prot", "ADT", "adt_counts", "antibody", "antibodies", "surface", "cell_surface_protein",
        "citeseq", "CITE", "rna_protein", "gene_protein", "protein_expression", "surface_expression", "proteomics",
        "atac_adt", "protein_from_rna", "abseq", "citeseq_adt", "Antibody Capture", "HTO", "hto_counts", "hashtags",
    ],
    "accessibility": [
        "atac", "ATAC", "scATAC", "snATAC-seq", "peaks", "chromatin", "accessibility", "chromatin_accessibility",
        "dnase", "rna_atac", "gene_peaks", "peaks_near_genes", "ATACseq", "atac2",
    ],
    None: [
        "x", "", "internal", "external", "alternative", "journal", "generic", "general", "oxygen", "excited", "speaker",
        "catacombs", "protocol", "roadtrip", "ephys", "morph", "met", "m1", "input", "a/b", "-", "größe",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for kind, names in NAMES.items() for name in names])
def test_the_last_word_that_says_a_kind_counts(name, kind):
    assert kind_of_name(name) == kind


@pytest.fixture
def logged(make_mdata, capsys):
    """What is logged of a modality called `rna`, of which `change` has the AnnData."""

    def logged(x, change=lambda rna: None, **how):
        mdata = make_mdata(rna=x, y=FLOATS[:, :3])
        change(mdata["rna"])
        capsys.readouterr()
        preparation = prepare(mdata, "rna", n_comps=2, **how)
        lines = [line for line in capsys.readouterr().err.splitlines() if "mdata['rna']" in line]
        assert len(lines) == (0 if "kind" in how else 1)
        return preparation.kind, lines[0] if lines else ""

    return logged


def test_the_line_names_a_layer_of_whole_numbers(logged):
    def layers(rna):
        rna.layers["scaled"] = FLOATS
        rna.layers["rounded"] = FLOATS * 0 + 0.5
        rna.layers["text"] = np.full((30, 20), "a")
        rna.layers["empty"] = np.zeros((30, 20))
        rna.layers["raw"] = sparse.csr_matrix(FEW_COUNTS.astype(int))

    kind, line = logged(np.log1p(FEW_COUNTS), layers)
    assert kind == "continuous"
    assert ".layers['raw'] holds whole numbers: pass layer='raw'" in line
    assert "normalised already?" in line
    assert "holds whole numbers" not in logged(FEW_COUNTS, layers)[1]
    gaps = {"gaps": np.where(GAPS, np.nan, FEW_COUNTS)}
    assert ".layers['gaps'] holds whole numbers" in logged(np.log1p(FEW_COUNTS), lambda rna: rna.layers.update(gaps))[1]
    assert logged(np.log1p(FEW_COUNTS), layers, layer="raw") == (
        "counts",
        "jamie: `mdata['rna']` is taken as 'counts': its name says so, and values are whole numbers; say otherwise "
        "with kinds={'rna': ...}",
    )


def test_only_the_first_cells_of_a_layer_are_looked_at(logged, monkeypatch):
    rows = []

    class Spied(np.ndarray):
        def __getitem__(self, index):
            rows.append(index)
            return np.asarray(super().__getitem__(index))

    x = np.log1p(np.tile(FEW_COUNTS, (40, 1)))
    rna = ad.AnnData(x, layers={"counts": np.tile(FEW_COUNTS, (40, 1))})
    monkeypatch.setattr(type(rna), "layers", {"counts": rna.layers["counts"].view(Spied)})
    from jamie.data._detect_kind import not_read

    assert "'counts'" in not_read(rna, "continuous", None)
    assert rows[0] == slice(None, 300)


@pytest.mark.parametrize("values", [[True] * 5 + [False] * 15, [True] * 5 + [None] * 15, [1.0] * 5 + [np.nan] * 15])
def test_the_line_says_that_variable_features_are_not_chosen(logged, values):
    def flag(rna):
        rna.var["highly_variable"] = np.array(values, dtype=object if None in values else None)

    _, line = logged(FEW_COUNTS, flag)
    assert "all 20 features are read, not only the 5 in .var['highly_variable']" in line
    assert "highly_variable" not in logged(FEW_COUNTS, lambda rna: rna.var.insert(0, "highly_variable", True))[1]


def test_what_is_given_is_not_guessed(logged):
    assert logged(DENSE_COUNTS, kind="continuous") == ("continuous", "")


def test_what_was_noted_goes_first(logged):
    def noted(rna, kind="counts", layer=""):
        rna.layers["x"] = FLOATS**2
        rna.uns["jamie_kind"] = {"kind": kind, "layer": layer}

    kind, line = logged(FLOATS**2, noted)
    assert kind == "counts"
    assert "completed values" in line
    assert logged(FLOATS**2, noted, layer="x")[0] == "continuous"
    assert logged(FLOATS**2, lambda rna: noted(rna, layer="x"), layer="x")[0] == "counts"
    for odd in ("nonsense", 3):
        assert logged(FLOATS**2, lambda rna, odd=odd: noted(rna, odd))[0] == "continuous"
    assert logged(FLOATS**2, lambda rna: rna.uns.update(jamie_kind="counts"))[0] == "continuous"


def test_what_is_noted_is_found_again_of_the_matrix_and_of_its_layer():
    adata = ad.AnnData(FLOATS)
    assert noted_kind(adata, None) is None
    note_kind(adata, "counts", "x")
    assert [noted_kind(adata, layer) for layer in (None, "x", "y")] == ["counts", "counts", None]
    note_kind(adata, "protein", "")
    assert [noted_kind(adata, layer) for layer in (None, "", "x")] == ["protein", "protein", None]
    assert adata.uns == {"jamie_kind": {"kind": "protein", "layer": ""}}  # as files that are there have it


def test_verbosity_silences_it(make_mdata, capsys, monkeypatch):
    monkeypatch.setattr(jm.settings, "verbosity", "warning")
    prepare(make_mdata(rna=FEW_COUNTS, y=FLOATS), "rna", n_comps=2)
    jm.settings.verbosity = "info"
    assert not capsys.readouterr().err
