"""Run the notebooks of this folder and store their outputs: `python tutorials/execute.py [NAME.ipynb ...]`."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> None:
    """Run in a folder of its own, and keep the outputs without times, progress bars and versions of the machine."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook, resources=resources, timeout=1_800, record_timing=False, coalesce_streams=True
        )
        client.execute()
    notebook.metadata = METADATA
    for i, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{i:02d}", {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(without_bars, cell.outputs) if output.get("text") != ""]
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def without_bars(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take away what a progress bar wrote and wiped."""
    if output.output_type == "stream":
        output.text = re.sub(r"[^\n]*\r", "", output.text)
    return output


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(Path(__file__).parent.glob("*.ipynb")):
        execute(path)
