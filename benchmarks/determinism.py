"""What changes the numbers of a training, and by how much: the table of docs/reproducibility.md.

One short training is the reference. Each row changes one thing that is not to matter, or that may, and says how far the
imputed values of all cells are off: the root mean squared difference in standard deviations of the feature, 0 if the
bits are the same. The last row, another seed, is what all others are to be read beside.

    python benchmarks/determinism.py --page docs/benchmark/determinism.md
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import torch
from scipy import sparse

import jamie as jm

STEPS = 200


def cells(name: str) -> md.MuData:
    """The data."""
    return getattr(jm.datasets, name)()


def changed(mdata: md.MuData, change: Callable[[ad.AnnData], ad.AnnData]) -> md.MuData:
    """The same cells, with a change in each modality."""
    return md.MuData({key: change(adata.copy()) for key, adata in mdata.mod.items()})


def with_x(convert: Callable) -> Callable[[ad.AnnData], ad.AnnData]:
    """A change of how the values are stored."""

    def change(adata: ad.AnnData) -> ad.AnnData:
        adata.X = convert(adata.X)
        return adata

    return change


def dense(x) -> np.ndarray:
    """Values as an array."""
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


def shuffled(adata: ad.AnnData) -> ad.AnnData:
    """Features in another order."""
    return adata[:, np.random.default_rng(1).permutation(adata.n_vars)].copy()


def reordered(adata: ad.AnnData) -> ad.AnnData:
    """Cells in another order."""
    return adata[np.random.default_rng(1).permutation(adata.n_obs)].copy()


def imputed(mdata: md.MuData, model: jm.JAMIE) -> dict[str, pd.DataFrame]:
    """What is imputed both ways, by name of cell and feature."""
    a, b = list(model.preparations_)[:2]
    found = {}
    for source, target in ((a, b), (b, a)):
        jm.tl.impute(mdata, model, source=source, target=target)
        values = jm.get.imputed(mdata, source=source, target=target).to_df()
        found[f"{source} → {target}"] = values
    return found


def trained(mdata: md.MuData, rng: int = 0) -> dict[str, pd.DataFrame]:
    """The same of a training."""
    return imputed(mdata, jm.tl.train(mdata, max_steps=STEPS, rng=rng))


def off(found: dict[str, pd.DataFrame], reference: dict[str, pd.DataFrame]) -> str:
    """How far values are off, the larger one of both ways; ``"the same bits"`` if they are."""
    worst = 0.0
    for way, expected in reference.items():
        values = found[way].loc[expected.index, expected.columns].to_numpy()
        if np.array_equal(values, expected.to_numpy(), equal_nan=True):
            continue
        sd = np.where((spread := expected.to_numpy().std(axis=0)) > 0, spread, np.nan)
        worst = max(worst, float(np.sqrt(np.nanmean(np.square((values - expected.to_numpy()) / sd)))))
    return "the same bits" if worst == 0 else f"{worst:.0e}"


@contextmanager
def setting(name: str, value: object) -> Iterator[None]:
    """A setting for a while."""
    before = getattr(jm.settings, name)
    setattr(jm.settings, name, value)
    try:
        yield
    finally:
        setattr(jm.settings, name, before)


def from_file(name: str, folder: Path, *, backed: bool) -> dict[str, pd.DataFrame]:
    """The same of cells that were written and read again."""
    cells(name).write(folder / "cells.h5mu")
    return trained(md.read_h5mu(folder / "cells.h5mu", backed="r" if backed else None))


def saved(name: str, folder: Path) -> dict[str, pd.DataFrame]:
    """The same of a model that was saved and loaded."""
    jm.tl.train(cells(name), max_steps=STEPS, rng=0).save(folder / "it.jamie")
    return imputed(cells(name), jm.JAMIE.load(folder / "it.jamie"))


def elsewhere(name: str, folder: Path, reference: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The same of another process, whose cells and features are in the same order."""
    subprocess.run([sys.executable, __file__, name, "--process", str(folder / "found.npz")], check=True)
    with np.load(folder / "found.npz") as found:
        return {way: pd.DataFrame(found[way], of.index, of.columns) for way, of in reference.items()}


def beside_another(name: str) -> dict[str, pd.DataFrame]:
    """The same of a thread, while another trains."""
    found: list[dict[str, pd.DataFrame]] = [{}, {}]

    def work(i: int) -> None:
        found[i] = trained(cells(name), rng=i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found[0]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Another default of torch for a while."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def within(context, name: str) -> dict[str, pd.DataFrame]:
    """The same in a context."""
    with context:
        return trained(cells(name))


def rows(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Each change, and how far values are off."""
    reference = trained(cells(name))
    runs: dict[str, Callable[[], dict[str, pd.DataFrame]]] = {
        "the same seed again": lambda: trained(cells(name)),
        "another process": lambda: elsewhere(name, folder, reference),
        "written to `.h5mu` and read": lambda: from_file(name, folder, backed=False),
        "`.h5mu` left on disk (`backed`)": lambda: from_file(name, folder, backed=True),
        "the model saved and loaded": lambda: saved(name, folder),
        "in a thread, while another one trains": lambda: beside_another(name),
        "`torch.no_grad`": lambda: within(torch.no_grad(), name),
        "`torch.inference_mode`": lambda: within(torch.inference_mode(), name),
        "autocast to bfloat16": lambda: within(torch.autocast("cpu", torch.bfloat16), name),
        "default dtype float64": lambda: within(default_dtype(torch.float64), name),
        "CSC in place of CSR": lambda: trained(changed(cells(name), with_x(sparse.csc_matrix))),
        "dense in place of CSR": lambda: trained(changed(cells(name), with_x(dense))),
        "float64 in place of float32": lambda: trained(changed(cells(name), with_x(lambda x: x.astype("float64")))),
        "two threads in place of one": lambda: within(setting("n_threads", 2), name),
        "`memory_gb` of 0.02: in blocks": lambda: within(setting("memory_gb", 0.02), name),
        "features in another order": lambda: trained(changed(cells(name), shuffled)),
        "cells in another order": lambda: trained(changed(cells(name), reordered)),
        "another seed": lambda: trained(cells(name), rng=1),
    }
    for what, run in runs.items():
        yield what, off(run(), reference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("set", nargs="?", default="citeseq_pbmc_mosaic", help="a function of jm.datasets")
    parser.add_argument("--page", type=Path, help="where to write the table in Markdown")
    parser.add_argument("--process", type=Path, help=argparse.SUPPRESS)  # where this process leaves what it imputed
    given = parser.parse_args()
    torch.set_num_threads(1)
    jm.settings.verbosity, jm.settings.n_threads = "error", 1
    if given.process is not None:
        np.savez(given.process, **{way: values.to_numpy() for way, values in trained(cells(given.set)).items()})
        return
    lines = ["| changed | imputed values off by |", "| --- | --- |"]
    with tempfile.TemporaryDirectory() as folder:
        for what, found in rows(given.set, Path(folder)):
            lines.append(f"| {what} | {found} |")
            print(lines[-1], flush=True)
    if given.page is not None:
        given.page.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
