"""Public data sets, built from the published files: the very values, names and labels of the reference."""

from __future__ import annotations

import hashlib
import inspect

import mudata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.mixture import GaussianMixture

from jamie import datasets
from jamie.datasets import _citeseq_pbmc10k as pbmc10k
from jamie.datasets._catalogue import CATALOGUE
from jamie.datasets._counts_csv import read_counts

every_set = pytest.mark.parametrize("name", list(CATALOGUE))


@pytest.fixture(scope="session")
def made(raw_dir, tmp_path_factory):
    """Function that gives a set as it is built from the published files, once."""
    folder = tmp_path_factory.mktemp("made")

    def get(name):
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("JAMIE_MIRROR", raw_dir.as_uri())
            return getattr(datasets, name)(folder=folder)

    return get


def values(x):
    return x.toarray() if sparse.issparse(x) else x


@pytest.mark.real
@every_set
def test_a_set_is_what_the_catalogue_says(name, made):
    mdata, public = made(name), CATALOGUE[name]
    assert mdata.n_obs == public.n_cells
    assert tuple(mdata.mod) == public.modalities
    assert mdata.uns["licence"] == public.licence
    assert all(file.commit in mdata.uns["source"] for file in public.files)
    for adata in mdata.mod.values():
        assert adata.X.dtype == np.float32
        assert adata.obs_names.is_unique
        assert adata.var_names.is_unique
        assert isinstance(adata.X, np.ndarray) or (sparse.issparse(adata.X) and adata.X.format == "csr")
        if "cell_type" in mdata.obs:
            labels = mdata.obs["cell_type"].loc[adata.obs_names]
            assert_array_equal(adata.obs["cell_type"].astype(str), labels.astype(str))


@pytest.mark.real
@every_set
def test_a_set_is_the_reference_value_by_value(name, made, data_dir):
    path = data_dir / f"{name}.h5mu"
    if not path.is_file():
        pytest.skip(f"no reference {path.name}")
    mdata, reference = made(name), mudata.read_h5mu(path)
    assert list(mdata.mod) == list(reference.mod)
    assert_array_equal(mdata.obs_names, reference.obs_names)
    own = [column for column in reference.obs if ":" not in column]
    pd.testing.assert_frame_equal(mdata.obs[own], reference.obs[own])
    for m, adata in mdata.mod.items():
        assert type(adata.X) is type(reference[m].X)
        assert_array_equal(values(adata.X), values(reference[m].X))  # NaN where NaN is
        pd.testing.assert_frame_equal(adata.obs, reference[m].obs, check_names=False)
        pd.testing.assert_frame_equal(adata.var, reference[m].var, check_names=False)


@pytest.mark.real
@every_set
def test_sizes_and_digests_are_those_of_the_files(name, raw_dir):
    for file in CATALOGUE[name].files:
        content = (raw_dir / file.repository / file.commit / file.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256
        assert len(content) == file.size


@pytest.mark.real
def test_gates_are_where_mixtures_cross(raw_dir):
    file = pbmc10k.PROTEIN_COUNTS
    protein = read_counts(raw_dir / file.repository / file.commit / file.path).to_df()
    for name, gate in pbmc10k.GATES.items():
        n_components = 3 if name in {"CD4", "CD8a"} else 2
        logs = np.log1p(protein[[f"{name}{pbmc10k.SUFFIX}"]].to_numpy())
        mixture = GaussianMixture(n_components, random_state=0).fit(logs)
        counts = np.arange(2_000)
        upper = mixture.predict(np.log1p(counts)[:, None]) == np.argmax(mixture.means_)
        crossing = counts[:-1][np.diff(upper.astype(int)) == 1].max()
        assert crossing == pytest.approx(gate, rel=0.1)


@pytest.mark.real
def test_tags_and_antibodies_are_counts_of_the_same_cells(made):
    mdata = made("citeseq_citefuse")
    for adata in mdata.mod.values():
        assert_array_equal(adata.obs_names, mdata.obs_names)
        assert adata.X.min() >= 0
        assert_array_equal(adata.X.data, np.round(adata.X.data))
    assert {"CD19", "MS4A1"} <= set(mdata["rna"].var_names)
    assert mdata["protein"].var["feature_name"]["CD19_protein"] == "CD19"


@every_set
def test_each_set_has_a_function_that_says_whom_to_cite(name):
    function = getattr(datasets, name)
    assert list(inspect.signature(function).parameters) == ["folder"]
    first_author = CATALOGUE[name].publication.removeprefix("dyngen: ").removeprefix("scAI: ").split()[0].strip(",")
    for text in (first_author, *(file.repository for file in CATALOGUE[name].files), "JAMIE_DATA_DIR"):
        assert text in function.__doc__
    if CATALOGUE[name].needs:
        assert "jamie-tools[data]" in function.__doc__


def test_the_catalogue_is_sorted_and_frozen():
    assert list(CATALOGUE) == sorted(CATALOGUE)
    with pytest.raises(TypeError):
        CATALOGUE["scgem"] = None
    with pytest.raises(AttributeError):
        CATALOGUE["scgem"].n_cells = 1


def test_gates_by_hand():
    names = [f"{name}{pbmc10k.SUFFIX}" for name in ("CD3", "CD4", "CD8a", "CD14", "CD16", "CD19", "CD56")]
    cells = {
        "CD4 T": (300, 1400, 0, 0, 0, 0, 0),
        "CD8 T": (300, 0, 300, 0, 0, 0, 0),
        "T other": (300, 1303, 252, 0, 0, 0, 0),
        "ambiguous": (300, 1400, 300, 0, 0, 0, 0),
        "B": (277, 0, 0, 172, 500, 68, 500),
        "Mono CD14": (0, 500, 0, 173, 500, 0, 500),
        "Mono CD16": (0, 81, 0, 0, 190, 0, 0),
        "NK": (0, 80, 300, 0, 190, 0, 0),
        "other": (277, 500, 300, 172, 189, 67, 65),
    }
    table = pd.DataFrame(cells, index=names).T.astype(np.float32)
    assert pbmc10k.gated(AnnData(table)).tolist() == list(cells)
    both = AnnData(pd.DataFrame([(0, 0, 0, 173, 0, 68, 0), (278, 0, 0, 173, 0, 0, 0)], index=["a", "b"], columns=names))
    assert pbmc10k.gated(both).tolist() == ["ambiguous", "ambiguous"]
    by_cd56 = AnnData(
        pd.DataFrame([(0, 500, 0, 0, 0, 0, 66), (0, 500, 0, 0, 190, 0, 66)], index=["a", "b"], columns=names)
    )
    assert pbmc10k.gated(by_cd56).tolist() == ["NK", "NK"]
