"""Loading by name: the same as the function of that name."""

from __future__ import annotations

import mudata
import pytest
from numpy.testing import assert_array_equal

from jamie import datasets
from jamie.datasets import branching_manifold, load, toy


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


def test_a_name_gives_what_its_function_gives(tmp_path, monkeypatch):
    toy().write(tmp_path / "scgem.h5mu")
    monkeypatch.setenv("JAMIE_DATA_DIR", str(tmp_path))
    assert load("scgem").shape == datasets.scgem().shape == load("scgem", folder=str(tmp_path)).shape == (60, 52)


def test_unknown_name_names_the_closest_and_the_list(tmp_path):
    with pytest.raises(ValueError, match=r"'citeseq_pbmc10k'.*did you mean 'patchseq_motor_cortex'"):
        load("patchseq_motorcortex", folder=tmp_path)
