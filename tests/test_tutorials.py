"""Every notebook of `tutorials/` runs from top to bottom, in a setting that is quick."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")

TUTORIALS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.ipynb"))
DATA = {"01_patchseq": "patchseq_motor_cortex"}
FASTER = {
    "01_patchseq": {
        "jm.tl.train(mdata, rng=0)": "jm.tl.train(mdata, rng=0, max_steps=20)",
        'jm.pl.embedding(mdata, color="cell_type", rng=0)': 'jm.pl.embedding(mdata, color="cell_type", basis="pca")',
        'jm.tl.evaluate(mdata, model, labels="cell_type", rng=0)': (
            'jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["knn"], n_features=100)'
        ),
    },
}
MOST_BYTES = 1_500_000

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


@pytest.mark.tutorial
@pytest.mark.real
@every_tutorial
def test_tutorial_runs(path, data_dir, tmp_path, monkeypatch):
    if not (data_dir / f"{DATA[path.stem]}.h5mu").is_file():
        pytest.skip(f"no {DATA[path.stem]}.h5mu among the public data sets")
    monkeypatch.setenv("JAMIE_DATA_DIR", str(data_dir))
    notebook = in_fast_setting(nbformat.read(path, as_version=4), FASTER[path.stem])
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
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
