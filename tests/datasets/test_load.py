"""Loading by name: what comes back is what the file has, and every refusal says what to do."""

from __future__ import annotations

import mudata
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from jamie.datasets import branching_manifold, load, toy
from jamie.datasets._catalogue import CATALOGUE
from jamie.datasets._load import present


@pytest.fixture
def folder(tmp_path):
    toy().write(tmp_path / "scgem.h5mu")
    (tmp_path / "mine.h5mu").touch()
    return tmp_path


@pytest.mark.parametrize("simulate", [toy, lambda: branching_manifold(n_cells=30, n_features=(5, 6))])
def test_simulated_sets_survive_the_file(simulate, tmp_path):
    written = simulate()
    written.write(tmp_path / "sim.h5mu")
    read = mudata.read_h5mu(tmp_path / "sim.h5mu")
    assert_array_equal(read.obs_names, written.obs_names)
    assert_array_equal(read.obs["cell_type"], written.obs["cell_type"])
    assert_array_equal(read.obsm["true_latent"], written.obsm["true_latent"])
    for name, adata in written.mod.items():
        assert_array_equal(read[name].obs_names, adata.obs_names)
        assert type(read[name].X) is type(adata.X)
        assert abs(read[name].X - adata.X).max() == 0


def test_folder_is_given_or_set_by_the_environment(folder, monkeypatch):
    monkeypatch.setenv("JAMIE_DATA_DIR", "/no/such/folder")
    by_path, by_text = load("scgem", folder=folder), load("scgem", folder=str(folder))
    monkeypatch.setenv("JAMIE_DATA_DIR", str(folder))
    by_environment = load("scgem")
    assert by_path.shape == by_text.shape == by_environment.shape == (60, 52)


def test_present_lists_what_the_catalogue_and_the_folder_share(folder, tmp_path_factory):
    assert present(folder) == ["scgem"]
    assert present(tmp_path_factory.mktemp("empty")) == []


def test_unknown_name_names_the_closest_and_the_list(folder):
    with pytest.raises(ValueError, match=r"'citeseq_pbmc10k'.*did you mean 'patchseq_motor_cortex'"):
        load("patchseq_motorcortex", folder=folder)


@pytest.mark.parametrize("value", [None, ""])
def test_no_folder_names_the_variable_and_the_argument(value, monkeypatch):
    monkeypatch.delenv("JAMIE_DATA_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("JAMIE_DATA_DIR", value)
    with pytest.raises(ValueError, match=r"JAMIE_DATA_DIR or pass `folder=`"):
        load("scgem")


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing of that kind at .*nowhere"):
        load("scgem", folder=tmp_path / "nowhere")


def test_missing_file_names_what_is_there_and_where_it_comes_from(folder):
    with pytest.raises(FileNotFoundError, match=r"'patchseq_fuzik2016.h5mu' in .*, found scgem; .*10.1038/nbt.3443"):
        load("patchseq_fuzik2016", folder=folder)


def test_the_catalogue_is_sorted_documented_and_frozen():
    assert list(CATALOGUE) == sorted(CATALOGUE)
    assert all(f'"{name}"' in load.__doc__ for name in CATALOGUE)
    with pytest.raises(TypeError):
        CATALOGUE["scgem"] = None
    with pytest.raises(AttributeError):
        CATALOGUE["scgem"].n_cells = 1


@pytest.mark.real
@pytest.mark.parametrize("name", list(CATALOGUE))
def test_public_set_is_what_the_catalogue_says(name, data_dir):
    if name not in present(data_dir):
        pytest.skip(f"{name}.h5mu is not in JAMIE_DATA_DIR")
    mdata, entry = load(name, folder=data_dir), CATALOGUE[name]
    assert mdata.n_obs == entry.n_cells
    assert tuple(mdata.mod) == entry.modalities
    assert "cell_type" in mdata.obs
    for adata in mdata.mod.values():
        assert adata.X.dtype == np.float32
        assert adata.obs_names.is_unique
        assert isinstance(adata.X, np.ndarray) or (sparse.issparse(adata.X) and adata.X.format == "csr")
        labels = mdata.obs["cell_type"].loc[adata.obs_names]
        assert_array_equal(adata.obs["cell_type"].astype(str), labels.astype(str))
