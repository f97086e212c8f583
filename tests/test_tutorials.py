"""Every notebook of `tutorials/` runs from top to bottom, in a setting that is quick."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import jamie as jm
from jamie._compat import quiet_mudata
from jamie.datasets._cache import DIGEST

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")

TUTORIALS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.ipynb"))
DATA = {
    "01_patchseq": ["patchseq_motor_cortex"],
    "02_citeseq_mosaic": ["citeseq_pbmc_mosaic"],
    "03_multiome_links": ["snareseq_mouse_cortex"],
    "04_unpaired": ["citeseq_pbmc10k"],
    "06_paper": ["scgem"],
    "07_interoperability": ["citeseq_pbmc10k"],
    "08_three_modalities": ["patchseq_motor_trio"],
    "09_reference_and_query": ["citeseq_pbmc10k", "citeseq_pbmc5k_rna"],
    "10_batches_and_mosaic": ["citeseq_pbmc_mosaic"],
    "gallery": ["patchseq_motor_cortex", "patchseq_motor_trio"],
}
N_CELLS = 500  # of each set, as many of each type as there are
FEWER = {"patchseq_motor_cortex": 250, "patchseq_motor_trio": 200, "citeseq_pbmc_mosaic": 300, "citeseq_pbmc10k": 300}
NEEDS = {"07_interoperability": ["igraph", "muon", "scib_metrics", "scvi"]}  # packages besides those of the tests
FASTER = {
    "01_patchseq": {
        "jm.tl.train(mdata, rng=0)": "jm.tl.train(mdata, rng=0, max_steps=5)",
        'jm.pl.embedding(mdata, color="cell_type", rng=0)': 'jm.pl.embedding(mdata, color="cell_type", basis="pca")',
        'jm.tl.evaluate(mdata, model, labels="cell_type", rng=0)': (
            'jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["knn"], n_features=100)'
        ),
        'features=["AP width (ms)"], rng=0)': 'features=["AP width (ms)"], n_cells=100)',
        "groups=sets, n_random=5, rng=0)": "groups=sets, n_random=1, n_cells=100)",
    },
    "02_citeseq_mosaic": {
        "model = jm.tl.train(mdata, rng=0)": "model = jm.tl.train(mdata, rng=0, max_steps=5)",
        'jm.pl.embedding(mdata, color="cell_type", rng=0)': 'jm.pl.embedding(mdata, color="cell_type", basis="pca")',
        'jm.pl.embedding(mdata, color="measured in", rng=0)': (
            'jm.pl.embedding(mdata, color="measured in", basis="pca")'
        ),
        'jm.tl.evaluate(mdata, model, labels="cell_type", rng=0)': (
            'jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["knn"])'
        ),
        "jm.tl.train(paired, rng=0)": "jm.tl.train(paired, rng=0, max_steps=5)",
    },
    "03_multiome_links": {
        "model = jm.tl.train(mdata, rng=0)": "model = jm.tl.train(mdata, rng=0, max_steps=5)",
        'jm.pl.embedding(mdata, color="cell_type", n_cells=3_000, rng=0)': (
            'jm.pl.embedding(mdata, color="cell_type", n_cells=500, basis="pca")'
        ),
        'seen_in["atac"] >= 100': 'seen_in["atac"] >= 10',
        'baselines=["knn", "ridge", "reduced_rank"], rng=0)': 'baselines=["knn"], n_features=100, rng=0)',
        "n_test >= 20": "n_test >= 5",
        "n_cells=500, n_background=50": "n_cells=50, n_background=5",
        'features=["Plp1"], groups=sets, n_random=5)': 'features=["Plp1"], groups=sets, n_random=1, n_cells=100)',
        'groups="chromosome", n_random=5)': 'groups="chromosome", n_random=1, n_cells=100)',
        "sim = jm.datasets.multiome(rng=0)": "sim = jm.datasets.multiome(n_cells=200, n_genes=16, n_peaks=96, rng=0)",
        "window=None, n_cells=200)": "window=None, n_cells=20)",
        "window=100_000, n_cells=200)": "window=100_000, n_cells=20)",
        "knockout=False, n_cells=100)": "knockout=False, n_cells=20)",
        "sim_model = jm.tl.train(sim, rng=0)": "sim_model = jm.tl.train(sim, rng=0, max_steps=5)",
        "jm.datasets.multiome(n_cells=10_000, rng=0)": "jm.datasets.multiome(n_cells=400, n_genes=16, n_peaks=96)",
        "thin_model = jm.tl.train(thin, rng=0)": "thin_model = jm.tl.train(thin, rng=0, max_steps=5)",
    },
    "04_unpaired": {
        "N_CELLS = 2_000": "N_CELLS = 300",
        "model = jm.tl.train(mdata, rng=0)": "model = jm.tl.train(mdata, rng=0, max_steps=5)",
        'jm.pl.embedding(mdata, color="cell_type", rng=0)': 'jm.pl.embedding(mdata, color="cell_type", basis="pca")',
        'method="gw", rng=0)': 'method="gw", n_starts=2)',
        "jm.tl.train(alone, rng=0)": "jm.tl.train(alone, max_steps=5)",
        "jm.tl.train(few, rng=0)": "jm.tl.train(few, max_steps=5)",
    },
    "05_large_data": {
        "N_CELLS = 50_000": "N_CELLS = 500",
        "N_GENES, N_REGIONS = 2_000, 10_000": "N_GENES, N_REGIONS = 300, 1_000",
        "memory_gb = 0.1": "memory_gb = 0.002",
        "model = jm.tl.train(mdata, rng=0)": "model = jm.tl.train(mdata, rng=0, max_steps=5)",
        "n_cells=1_500, rng=0": 'basis="pca"',
    },
    "06_paper": {
        "branching_manifold(rng=0)": "branching_manifold(n_cells=90, n_features=(30, 40))",
        'color="cell_type", use_rep="X_jamie_input", rng=0)': 'use_rep="X_jamie_input", basis="pca")',
        'jm.pl.embedding(mdata, color="cell_type", rng=0)': 'jm.pl.embedding(mdata, color="cell_type", basis="pca")',
        'jm.tl.train(mdata, recipe="paper", dropout=0.0, rng=0)': (
            'jm.tl.train(mdata, recipe="paper", dropout=0.0, max_steps=2)'
        ),
        'jm.tl.train(wrong, recipe="paper", dropout=0.0, rng=0)': 'jm.tl.train(wrong, recipe="paper", max_steps=2)',
        "jm.tl.train(scgem, recipe=recipe, rng=0)": "jm.tl.train(scgem, recipe=recipe, max_steps=2)",
    },
    "07_interoperability": {
        "N_CELLS = 2_000": "N_CELLS = 600",
        "model = jm.tl.train(mdata, rng=0)": "model = jm.tl.train(mdata, rng=0, max_steps=5)",
        "totalvi.train(": "totalvi.train(max_epochs=2, ",
        "n_samples=25": "n_samples=1",
    },
    "08_three_modalities": {
        "model = jm.tl.train(mdata, rng=0)": "model = jm.tl.train(mdata, rng=0, max_steps=5)",
        'jm.pl.embedding(mdata, color="cell_type", rng=0)': 'jm.pl.embedding(mdata, color="cell_type", basis="pca")',
        'jm.tl.evaluate(mdata, model, labels="cell_type", rng=0)': (
            'jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["knn"], n_features=100)'
        ),
        'features=["apical height"], rng=0)': 'features=["apical height"], n_cells=50)',
        "jm.tl.train(pair, rng=0)": "jm.tl.train(pair, rng=0, max_steps=5)",
    },
    "09_reference_and_query": {
        "model = jm.tl.train(reference, rng=0)": "model = jm.tl.train(reference, rng=0, max_steps=5)",
        'jm.pl.embedding(query, reference=reference, color="cell_type", rng=0)': (
            'jm.pl.embedding(query, reference=reference, color="cell_type", basis="pca")'
        ),
    },
    "10_batches_and_mosaic": {
        "jm.tl.train(mdata, batch_key=batch_key, rng=0)": (
            "jm.tl.train(mdata, batch_key=batch_key, rng=0, max_steps=5)"
        ),
        'jm.tl.train(reference, batch_key="batch", rng=0)': (
            'jm.tl.train(reference, batch_key="batch", rng=0, max_steps=5)'
        ),
        'jm.pl.embedding(mdata, color="batch", rng=0)': 'jm.pl.embedding(mdata, color="batch", basis="pca")',
        'jm.pl.embedding(cells, reference=reference, color="cell_type", rng=0)': (
            'jm.pl.embedding(cells, reference=reference, color="cell_type", basis="pca")'
        ),
    },
    "gallery": {
        "model = jm.tl.train(mdata, rng=0)": "model = jm.tl.train(mdata, rng=0, max_steps=5)",
        'jm.tl.evaluate(mdata, model, labels="cell_type", aligners=["cca", "lma", "nlma"], rng=0)': (
            'jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["knn"], aligners=["cca"], n_features=100)'
        ),
        'jm.pl.embedding(mdata, color="cell_type", use_rep="X_jamie_input", rng=0)': (
            'jm.pl.embedding(mdata, color="cell_type", basis="pca", use_rep="X_jamie_input")'
        ),
        'jm.pl.embedding(mdata, color="cell_type", rng=0)': 'jm.pl.embedding(mdata, color="cell_type", basis="pca")',
        'features=["AP width (ms)"], rng=0)': 'features=["AP width (ms)"], n_cells=100)',
        'jm.tl.knockout(mdata, model, source="rna", target="ephys", rng=0)': (
            'jm.tl.knockout(mdata, model, source="rna", target="ephys", n_cells=100)'
        ),
        "n_cells=1_000, n_genes=200, n_peaks=1_200, rng=0)": "n_cells=100, n_genes=20, n_peaks=80)",
        "model = jm.tl.train(multiome, rng=0)": "model = jm.tl.train(multiome, max_steps=5)",
        'features=list(multiome["rna"].var_names[:20]), rng=0)': (
            'features=list(multiome["rna"].var_names[:20]), n_cells=20)'
        ),
        "trio_model = jm.tl.train(trio, rng=0)": "trio_model = jm.tl.train(trio, max_steps=5)",
        'jm.pl.embedding(trio, color="cell_type", n_cells=600, rng=0)': (
            'jm.pl.embedding(trio, color="cell_type", basis="pca")'
        ),
    },
}
MOST_BYTES = 1_500_000

SLOW = {"03_multiome_links", "05_large_data", "10_batches_and_mosaic", "gallery"}  # ten seconds and more even so

every_tutorial = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)


def sources(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def in_fast_setting(notebook, substitutes):
    """Put quick lines in place of slow ones; fails where a slow line is not there, for then this would be slow."""
    for slow, quick in substitutes.items():
        found = [cell for cell in sources(notebook) if slow in cell.source]
        assert len(found) == 1, f"expected {slow!r} in one cell, found it in {len(found)}"
        found[0].source = found[0].source.replace(slow, quick)
    return notebook


@pytest.fixture(scope="module")
def small_sets(data_dir, tmp_path_factory):
    """Function that puts some cells of a public set where notebooks find it, and returns the folder."""
    folder = tmp_path_factory.mktemp("sets")

    def put(name):
        if not (data_dir / f"{name}.h5mu").is_file():
            pytest.skip(f"no {name}.h5mu among the public data sets")
        if not (folder / f"{name}.h5mu").is_file():
            whole = jm.datasets.load(name, folder=data_dir)
            types = whole.obs["cell_type"].astype(str) if "cell_type" in whole.obs else np.zeros(whole.n_obs)
            rank = whole.obs.groupby(np.asarray(types)).cumcount()
            with quiet_mudata():
                mdata = whole[np.sort(np.argsort(rank, kind="stable")[: FEWER.get(name, N_CELLS)])].copy()
                mdata.uns.pop(DIGEST, None)  # of all its cells
                mdata.write(folder / f"{name}.h5mu")

    return folder, put


@pytest.fixture(scope="module")
def kernel():
    """Client of one kernel for all notebooks, as its start and imports take longer than most of them."""
    client = nbclient.NotebookClient(nbformat.v4.new_notebook(), timeout=300, kernel_name="python3")
    with client.setup_kernel():
        yield client


CLEAN = """
import gc, os, warnings
import jamie as jm
if not gc.get_freeze_count():
    gc.freeze()  # what was imported is not gone through each time that names are forgotten
os.environ["JAMIE_DATA_DIR"] = {data!r}
os.chdir({folder!r})
warnings.resetwarnings()
jm.settings.verbosity, jm.settings.memory_gb = "info", {memory_gb}
%reset -f
"""


@pytest.mark.tutorial
@pytest.mark.real
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else []) for path in TUTORIALS],
    ids=lambda path: path.stem,
)
def test_tutorial_runs(path, small_sets, kernel, tmp_path):
    """On few cells, and with no name but its own."""
    folder, put = small_sets
    for package in NEEDS.get(path.stem, []):
        pytest.importorskip(package, reason=f"{package} is not installed")
    for name in DATA.get(path.stem, []):
        put(name)
    notebook = in_fast_setting(nbformat.read(path, as_version=4), FASTER.get(path.stem, {}))
    clean = CLEAN.format(data=str(folder), folder=str(tmp_path), memory_gb=jm.settings.memory_gb)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(clean))
    kernel.nb = notebook
    for i, cell in enumerate(notebook.cells):
        kernel.execute_cell(cell, i)
    assert all(cell.execution_count for cell in sources(notebook))
    assert list(tmp_path.iterdir()) == []  # a reader's folder is left as it was


@every_tutorial
def test_tutorial_is_stored_with_its_outputs_and_nothing_else(path):
    notebook = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in sources(notebook)] == list(range(1, len(sources(notebook)) + 1))
    assert all(not cell.metadata for cell in notebook.cells)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert path.stat().st_size < MOST_BYTES
    outputs = [output for cell in sources(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    shown = "".join(
        str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", "")) for output in outputs
    )
    for unwanted in ("Warning", "Traceback", "site-packages", "/home/", "/tmp/", "\r"):
        assert unwanted not in shown
