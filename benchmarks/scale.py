"""Time and memory of every stage on a sparse multiome that lies on disk, as cells grow.

    python benchmarks/scale.py --cells 10000 100000 --genes 20000 --peaks 100000 --out scale.json --figure scale.png

Cells are simulated block by block and written as CSR, about 2,000 genes and 4,000 peaks a cell: each has a type, and a
programme of some strength, which both modalities show. Every stage runs in a process of its own, reads matrices from
disk and hands on what it wrote as a MuData without matrices. The output is a list with an entry for each stage and
number of cells: seconds, peak resident memory, cells a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import h5py
import mudata
import numpy as np
import pandas as pd
import torch
from mudata import MuData

import jamie as jm

STAGES = ("generate", "prepare", "train", "embed", "impute")
N_TYPES, N_PROGRAMMES = 20, 30
DRAWS = {"rna": 2_900, "atac": 4_600}
TABLE = 2**18
BLOCK = 2_000
N_IMPUTED = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="*", default=[10_000, 100_000], help="none: only draw what is there")
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--peaks", type=int, default=100_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--table", type=Path, help="Markdown of the documentation")
    parser.add_argument("--folder", type=Path, default=Path("scale_data"), help="for the simulated cells")
    parser.add_argument("--keep", action="store_true", help="keep the simulated cells")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        run(given, given.cells[0])
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, float | str]] = json.loads(given.out.read_text()) if given.out.exists() else []
    for n in given.cells:
        found = [row for row in found if row["cells"] != n]
        for stage in STAGES:
            command = [sys.executable, __file__, *sys.argv[1:], "--cells", str(n), "--stage", stage]
            subprocess.run(command, check=True)
            found.append(json.loads((given.folder / "stage.json").read_text()))
            given.out.write_text(json.dumps(found, indent=1))
            print(found[-1], flush=True)
        for path in [] if given.keep else list(given.folder.glob(f"*_{n}.*")):
            remove(path)
    growth(found)
    if given.table:
        given.table.write_text(table(found))
    if given.figure:
        draw(found, given.figure)


def run(given: argparse.Namespace, n: int) -> None:
    torch.set_num_threads(given.threads)
    mudata.set_options(pull_on_update=False)
    jm.settings.n_threads, jm.settings.verbosity = given.threads, "error"
    began = time.perf_counter()
    extra = globals()[given.stage](given, n)
    seconds = time.perf_counter() - began
    row = {
        "stage": given.stage,
        "cells": n,
        "genes": given.genes,
        "peaks": given.peaks,
        "seconds": round(seconds, 1),
        "peak_rss_gb": peak_rss_gb(),
        "cells_per_second": round(n / seconds),
        **(extra or {}),
    }
    (given.folder / "stage.json").write_text(json.dumps(row))


def generate(given: argparse.Namespace, n: int) -> None:
    rng = np.random.default_rng(0)
    kind, programme = rng.integers(N_TYPES, size=n), rng.integers(N_PROGRAMMES, size=n)
    strength = rng.uniform(0, 0.5, size=n)
    with h5py.File(given.folder / f"matrices_{n}.h5", "w") as file:
        for name, d in (("rna", given.genes), ("atac", given.peaks)):
            types, programmes = tables(N_TYPES, d, rng), tables(N_PROGRAMMES, d, rng)
            group = file.create_group(name)
            group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n, d)})
            data = group.create_dataset("data", (0,), np.uint8, maxshape=(None,), chunks=(2**22,))
            indices = group.create_dataset("indices", (0,), np.int32, maxshape=(None,), chunks=(2**20,))
            indptr = np.zeros(n + 1, dtype=np.int64)
            for start in range(0, n, BLOCK):
                rows = slice(start, min(start + BLOCK, n))
                columns, counts, length = draws(
                    DRAWS[name], types, programmes, kind[rows], programme[rows], strength[rows], rng
                )
                for dataset, values in ((data, counts), (indices, columns)):
                    dataset.resize((indptr[start] + len(values),))
                    dataset[indptr[start] :] = values
                indptr[rows.start + 1 : rows.stop + 1] = indptr[start] + np.cumsum(length)
            group["indptr"] = indptr
    cells = pd.DataFrame({"cell_type": pd.Categorical([f"type{k}" for k in kind])}, index=[f"c{i}" for i in range(n)])
    save(given, n, cells)


def tables(k: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Features to draw from with equal probability, (k, TABLE): a common profile, of which each row changes a tenth."""
    profile = rng.gamma(0.8, size=d)
    found = np.empty((k, TABLE), dtype=np.int32)
    for row in found:
        changed = profile * np.where(rng.random(d) < 0.1, rng.gamma(0.3, 10, size=d), 1)
        row[:] = np.searchsorted(np.cumsum(changed) / changed.sum(), (np.arange(TABLE) + rng.random(TABLE)) / TABLE)
    return found.clip(max=d - 1)


def draws(m, types, programmes, kind, programme, strength, rng):
    """Columns and counts of a block of cells, row after row, and the number of each row."""
    place = rng.integers(TABLE, size=(len(kind), m), dtype=np.int32)
    from_programme = np.arange(m) < (strength * m)[:, None]
    found = np.where(from_programme, programmes[programme[:, None], place], types[kind[:, None], place])
    found.sort(axis=1)
    is_first = np.ones(found.shape, dtype=bool)
    is_first[:, 1:] = found[:, 1:] != found[:, :-1]
    (starts,) = np.nonzero(is_first.ravel())
    counts = np.diff(starts, append=found.size).clip(max=255).astype(np.uint8)
    return found.ravel()[starts], counts, is_first.sum(axis=1)


def prepare(given: argparse.Namespace, n: int) -> None:
    mdata, file = load(given, n)
    jm.pp.split(mdata, test_fraction=0.1, rng=0)
    jm.pp.prepare(mdata)
    keep(given, n, mdata, file)


def train(given: argparse.Namespace, n: int) -> dict[str, float]:
    mdata, file = load(given, n)
    model = jm.tl.train(mdata, rng=0)
    model.save(given.folder / f"model_{n}.jamie")
    keep(given, n, mdata, file)
    steps = int(model.history_["step"].max())
    scores = {
        f"{score.measure} {score.source} {score.target}": round(score.value, 4)
        for score in model.summary_.scores
        if score.method == "jamie"
    }
    return {"steps": steps, "fit_seconds": round(model.summary_.seconds, 1), **scores}


def embed(given: argparse.Namespace, n: int) -> None:
    mdata, file = load(given, n)
    jm.tl.embed(mdata, jm.JAMIE.load(given.folder / f"model_{n}.jamie"))
    keep(given, n, mdata, file)


def impute(given: argparse.Namespace, n: int) -> None:
    mdata, _ = load(given, n)
    model = jm.JAMIE.load(given.folder / f"model_{n}.jamie")
    genes = list(mdata["rna"].var_names[:N_IMPUTED])
    jm.tl.impute(mdata, model, source="atac", target="rna", features=genes, out=given.folder / f"imputed_{n}.zarr")


def save(given: argparse.Namespace, n: int, cells: pd.DataFrame) -> None:
    modalities = {
        name: ad.AnnData(
            obs=pd.DataFrame(index=cells.index), var=pd.DataFrame(index=[f"{prefix}{j}" for j in range(d)])
        )
        for name, prefix, d in (("rna", "gene", given.genes), ("atac", "peak", given.peaks))
    }
    mdata = MuData(modalities)
    mdata.obs["cell_type"] = cells["cell_type"]
    mdata.write_h5mu(given.folder / f"slots_{n}.h5mu")


def load(given: argparse.Namespace, n: int) -> tuple[MuData, h5py.File]:
    """What earlier stages wrote, with matrices that stay on disk."""
    mdata = mudata.read_h5mu(given.folder / f"slots_{n}.h5mu")
    file = h5py.File(given.folder / f"matrices_{n}.h5")
    for name, adata in mdata.mod.items():
        adata.X = ad.io.sparse_dataset(file[name])
    return mdata, file


def keep(given: argparse.Namespace, n: int, mdata: MuData, file: h5py.File) -> None:
    for adata in mdata.mod.values():
        adata.X = None
    file.close()
    mdata.write_h5mu(given.folder / f"slots_{n}.h5mu")


def peak_rss_gb() -> float:
    """Largest resident memory of this process; Linux."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024**2, 2)


def remove(path: Path) -> None:
    if path.is_dir():
        for inner in sorted(path.rglob("*"), reverse=True):
            inner.rmdir() if inner.is_dir() else inner.unlink()
        path.rmdir()
    else:
        path.unlink()


def growth(found: list[dict[str, float | str]]) -> None:
    """Exponent of each stage between the fewest and the most cells."""
    seconds = pd.DataFrame(found).pivot_table(index="stage", columns="cells", values="seconds")
    if seconds.shape[1] > 1:
        few, many = seconds.columns[0], seconds.columns[-1]
        print((np.log(seconds[many] / seconds[few]) / np.log(many / few)).round(2).rename("exponent").reindex(STAGES))


def table(found: list[dict[str, float | str]]) -> str:
    """Seconds and peak memory of each stage, a column for each number of cells."""
    rows = {(row["stage"], row["cells"]): f"{row['seconds']:.0f} s, {row['peak_rss_gb']:.1f} GB" for row in found}
    cells = sorted({row["cells"] for row in found})
    total = {n: sum(r["seconds"] for r in found if r["cells"] == n and r["stage"] != "generate") / 60 for n in cells}
    lines = [["stage", *(f"{n:,} cells" for n in cells)], ["---"] * (1 + len(cells))]
    lines += [[stage, *(rows.get((stage, n), "") for n in cells)] for stage in STAGES[1:]]
    lines += [["all", *(f"{total[n]:.1f} min" for n in cells)]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def draw(found: list[dict[str, float | str]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = pd.DataFrame(found)
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3), layout="constrained")
    for ax, column, label in zip(axes, ("seconds", "peak_rss_gb"), ("seconds", "peak memory (GB)"), strict=True):
        for i, stage in enumerate(STAGES[1:]):
            of_stage = rows[rows["stage"] == stage].sort_values("cells")
            ax.plot(
                of_stage["cells"], of_stage[column], "o-", color=f"C{i}", label=stage if column == "seconds" else None
            )
            if column == "seconds" and stage != "train":
                first = of_stage.iloc[0]
                ax.plot(of_stage["cells"], first[column] * of_stage["cells"] / first["cells"], ":", color=f"C{i}", lw=1)
        ax.set(xscale="log", yscale="log" if column == "seconds" else "linear", xlabel="cells", ylabel=label)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].plot([], [], "k:", lw=1, label="in proportion to cells")
    figure.legend(loc="outside right center", frameon=False, fontsize="small")
    axes[1].set_ylim(bottom=0)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
