"""Who matches whom: inferred correspondence, and training on few pairs, from 177 cells to a million.

    python benchmarks/correspondence.py --out correspondence.json
    ... --only unsupervised mismatch

FOSCTTM and LTA of a correspondence are those of barycentric projections, F̃ times the other modality; of a training,
those of the latents. Both are over cells whose partner was not known. Seeds draw the known pairs and start the methods.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import torch
from mudata import MuData
from scipy import sparse
from sklearn.preprocessing import normalize

import jamie as jm
from jamie.metrics import foscttm, label_transfer_accuracy

SEEDS = (0, 1, 2)
# reduced features as their sources ship them are compared by direction, or as they are; counts are prepared
REPRESENTATIONS = {"snareseq_cellline": "unit", "scgem": "X"}

LINKED = {
    "citeseq_pbmc10k": {
        f"{protein}_TotalSeqB": gene
        for protein, gene in {
            "CD127": "IL7R", "CD14": "CD14", "CD15": "FUT4", "CD16": "FCGR3A", "CD19": "CD19", "CD25": "IL2RA",
            "CD3": "CD3D", "CD4": "CD4", "CD56": "NCAM1", "CD8a": "CD8A", "PD-1": "PDCD1", "TIGIT": "TIGIT",
        }.items()
    },
    "citeseq_pbmc_mosaic": {
        "tigit": "TIGIT", "cd22": "CD22", "cd20": "MS4A1", "cd25": "IL2RA", "cd24": "CD24", "cd56.1": "NCAM1",
        "cd1c": "CD1C", "igd": "IGHD", "igm": "IGHM", "cd123": "IL3RA", "cd16": "FCGR3A", "cd19": "CD19",
        "cd72": "CD72", "cd8a": "CD8A", "cd9": "CD9", "hla.dr": "HLA-DRA", "cd61": "ITGB3", "cd79b": "CD79B",
        "cd57": "B3GAT1", "cd41": "ITGA2B", "cd40": "CD40", "cd28": "CD28", "cd161": "KLRB1",
    },
}  # fmt: skip


def load(name: str) -> MuData:
    mdata = jm.datasets.branching_manifold(rng=0) if name == "branching" else jm.datasets.load(name)
    for adata in mdata.mod.values():
        if REPRESENTATIONS.get(name) == "unit":
            adata.obsm["unit"] = normalize(adata.X)
    return mdata


def with_known(mdata: MuData, known: np.ndarray, rng: np.random.Generator) -> MuData:
    """The same cells, shuffled, of which only the known have the same name in both modalities."""
    modalities = {}
    for name, adata in mdata.mod.items():
        renamed = adata[rng.permutation(adata.n_obs)].copy()
        is_known = known[mdata[name].obs_names.get_indexer(renamed.obs_names)]
        renamed.obs["true"] = renamed.obs_names
        renamed.obs_names = np.where(is_known, renamed.obs_names, [f"{cell} {name}" for cell in renamed.obs_names])
        modalities[name] = renamed
    return MuData(modalities)


def unknown(mdata: MuData) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the cells of both modalities whose partner is there, but not known; of all cells if every one is."""
    a, b = mdata.mod.values()
    partner = pd.Index(b.obs["true"]).get_indexer(a.obs["true"])
    asked = (partner >= 0) & ~a.obs_names.isin(b.obs_names)
    asked = asked if asked.any() else partner >= 0
    return np.flatnonzero(asked), partner[asked]


def score(x, y, mdata: MuData, rows, partners) -> dict[str, float]:
    a, b = (adata.obs["cell_type"].astype(str).to_numpy() for adata in mdata.mod.values())
    return {
        "foscttm": foscttm(x[rows], y[partners]),
        "lta": label_transfer_accuracy(x[rows], y, a[rows], labels_y=b),
    }


def judge(mdata: MuData, use_rep: str | None) -> dict[str, float]:
    """Scores of F̃: cells of either modality carried to the other."""
    a, b = mdata.mod
    rows = mdata.obs_names.get_indexer(mdata[a].obs_names)
    columns = mdata.obs_names.get_indexer(mdata[b].obs_names)
    f = sparse.csr_matrix(mdata.obsp[f"jamie_inferred_{a}_{b}"])[rows][:, columns]
    x, y = (
        np.asarray(mdata[m].X if use_rep == "X" else mdata[m].obsm[use_rep or "X_jamie_input"], dtype=np.float64)
        for m in (a, b)
    )
    asked, partners = unknown(mdata)
    there = score(f @ y, y, mdata, asked, partners)
    back = sparse.diags_array(1 / np.asarray(f.sum(0)).ravel().clip(1e-12)) @ f.T @ x
    return {"foscttm": (there["foscttm"] + foscttm(x[asked], back[partners])) / 2, "lta": there["lta"]}


def infer(mdata: MuData, name: str, seed: int, **more) -> dict:
    use_rep = REPRESENTATIONS.get(name)
    if use_rep is None:
        jm.pp.prepare(mdata)
    began = time.process_time()
    jm.pp.infer_correspondence(mdata, use_rep=use_rep, rng=seed, **more)
    seconds = time.process_time() - began
    report = mdata.uns["jamie_inferred_{}_{}".format(*mdata.mod)]
    kept = {key: report[key] for key in ("method", "verified", "objective", "gap", "agreement") if key in report}
    return {**judge(mdata, use_rep), **kept, "seconds": seconds}


def some_known(n: int, n_known: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(n) < n_known


def unsupervised() -> Iterator[dict]:
    for name in ("snareseq_cellline", "scgem", "branching", "sim_dyngen_rna_protein"):
        for n_pairs in (0, 10, 20, 50):
            for seed in SEEDS:
                rng, whole = np.random.default_rng(seed), load(name)
                mdata = with_known(whole, some_known(whole.n_obs, n_pairs, rng), rng)
                yield {"data": name, "pairs": n_pairs, "seed": seed, **infer(mdata, name, seed)}


def reference() -> Iterator[dict]:
    """Eq. 8 as published, dense, on the sets that are small enough."""
    for name in ("snareseq_cellline", "scgem", "branching", "sim_dyngen_rna_protein"):
        rng, whole = np.random.default_rng(0), load(name)
        mdata = with_known(whole, some_known(whole.n_obs, 0, rng), rng)
        yield {"data": name, "seed": 0, **infer(mdata, name, 0, method="unioncom", n_starts=4)}


def mismatch() -> Iterator[dict]:
    """Four fifths of one type are missing from the second modality."""
    name = "snareseq_cellline"
    for dropped in load(name).obs["cell_type"].unique():
        for n_pairs in (0, 20, 50):
            for seed in SEEDS:
                rng, whole = np.random.default_rng(seed), load(name)
                a, b = whole.mod
                is_type = (whole[b].obs["cell_type"] == dropped).to_numpy()
                keep = ~is_type | (rng.random(len(is_type)) < 0.2)
                candidates = np.flatnonzero(keep)
                known = np.zeros(len(keep), dtype=bool)
                known[rng.choice(candidates, n_pairs, replace=False)] = True
                mdata = with_known(whole, known, rng)
                left = mdata[b][keep[whole[b].obs_names.get_indexer(mdata[b].obs["true"])]].copy()
                mdata = MuData({a: mdata[a].copy(), b: left})
                yield {"dropped": str(dropped), "pairs": n_pairs, "seed": seed, **infer(mdata, name, seed)}


def linked() -> Iterator[dict]:
    """Proteins and the genes that code for them, no pairs, beside geometry alone; F̃, and what is trained on it.

    All cells, and with four fifths of the CD4 T cells missing from the proteins.
    """
    for name, genes in LINKED.items():
        table = pd.DataFrame(genes.items(), columns=["protein", "rna"])[["rna", "protein"]]
        for method, dropped, seed in product(("linked", "gw"), (None, "CD4 T"), SEEDS):
            rng, whole = np.random.default_rng(seed), load(name)
            both = whole["rna"].obs_names.intersection(whole["protein"].obs_names)
            whole = MuData({m: whole[m][both].copy() for m in ("rna", "protein")})
            mdata = with_known(whole, some_known(whole.n_obs, 0, rng), rng)
            is_type = (mdata["protein"].obs["cell_type"] == dropped).to_numpy()
            left = mdata["protein"][~is_type | (rng.random(len(is_type)) < 0.2)].copy()
            mdata = MuData({"rna": mdata["rna"].copy(), "protein": left})
            found = infer(mdata, name, seed, method=method, **({"linked": table} if method == "linked" else {}))
            trained = {f"{key}, trained": value for key, value in train(mdata, mdata, seed).items()}
            yield {"data": name, "dropped": dropped or "", "features": len(table), "seed": seed, **found, **trained}


def partial() -> Iterator[dict]:
    """Trained end to end; unknown pairs are there as separate cells, or left out of the training ("pairs only")."""
    for name in ("branching", "patchseq_motor_cortex"):
        for share in (1.0, 0.75, 0.5, 0.25, 0.1, 0.0):
            for seed in SEEDS:
                rng, whole = np.random.default_rng(seed), load(name)
                mdata = with_known(whole, some_known(whole.n_obs, round(share * whole.n_obs), rng), rng)
                if not share:
                    jm.pp.infer_correspondence(mdata, rng=seed)
                row = {"data": name, "share": share, "seed": seed, **train(mdata, mdata, seed)}
                if 0 < share < 1:
                    names = [mdata[m].obs_names for m in mdata.mod]
                    both = names[0].intersection(names[1])
                    only = MuData({m: mdata[m][both].copy() for m in mdata.mod})
                    row |= {f"{key}, pairs only": value for key, value in train(only, mdata, seed).items()}
                yield row


def train(training: MuData, mdata: MuData, seed: int) -> dict[str, float]:
    began = time.process_time()
    model = jm.tl.train(training, rng=seed)
    seconds = time.process_time() - began
    asked, partners = unknown(mdata)
    latents = model.embed(mdata)
    x, y = (latents[m] for m in mdata.mod)
    return {**score(x, y, mdata, asked, partners), "seconds": seconds}


def large(n_cells: int = 200_000, share: float = 0.02) -> Iterator[dict]:
    rng = np.random.default_rng(0)
    whole = jm.datasets.branching_manifold(n_cells=n_cells, n_features=(100, 200), rng=0)
    mdata = with_known(whole, some_known(n_cells, round(share * n_cells), rng), rng)
    del whole
    before, began = peak(), time.perf_counter()
    model = jm.tl.train(mdata, rng=0)
    seconds = time.perf_counter() - began
    asked, partners = unknown(mdata)
    some = rng.choice(len(asked), 5_000, replace=False)
    x, y = (mdata[m].obsm["X_jamie"] for m in mdata.mod)
    scores = score(x, y, mdata, asked[some], partners[some])
    steps = int(model.history_["step"].max())
    yield {
        "cells": n_cells,
        "share": share,
        **scores,
        "steps": steps,
        "seconds": seconds,
        "gb": peak(),
        "gb data": before,
    }


def scale(n_cells: int) -> Iterator[dict]:
    """A tree of twelve branches in eight dimensions, seen through two random networks; no pairs."""
    branch, x, y = tree(n_cells, np.random.default_rng(0))
    mdata = MuData({m: ad.AnnData(obs=pd.DataFrame(index=[f"{m}{i}" for i in range(n_cells)]), obsm={"view": view})
                    for m, view in (("x", x), ("y", y))})  # fmt: skip
    before, began = peak(), time.perf_counter()
    jm.pp.infer_correspondence(mdata, use_rep="view", rng=0)
    seconds = time.perf_counter() - began
    best = np.asarray(sparse.csr_matrix(mdata.obsp["jamie_inferred_x_y"])[:n_cells][:, n_cells:].argmax(1)).ravel()
    share = np.bincount(branch) / n_cells
    yield {"cells": n_cells, "seconds": seconds, "gb": peak(), "gb data": before,
           "right branch": float((branch[best] == branch).mean()), "chance": float(share @ share)}  # fmt: skip


def tree(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = np.random.default_rng(7)
    parent = [-1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6]
    heading = normalize(shape.standard_normal((len(parent), 8)))
    length, size = shape.uniform(0.6, 2, len(parent)), shape.uniform(0.5, 1.5, len(parent))
    start = np.zeros_like(heading)
    for child, above in enumerate(parent[1:], 1):
        start[child] = start[above] + heading[above] * length[above]
    branch = rng.choice(len(parent), n, p=size / size.sum())
    along = (length[branch] * rng.random(n))[:, None]
    latent = (start[branch] + heading[branch] * along + 0.05 * rng.standard_normal((n, 8))).astype(np.float32)
    views = []
    for _ in range(2):
        first, second = shape.standard_normal((8, 64)) * 0.6, shape.standard_normal((64, 30)) * 0.3
        view = np.tanh(latent @ first.astype(np.float32) + 0.1) @ second.astype(np.float32)
        views.append(view + 0.05 * rng.standard_normal(view.shape, dtype=np.float32))
    return branch, *views


def known_pairs(n_cells: int = 100_000) -> Iterator[dict]:
    """All pairs known, given as a sparse matrix between cells of other names."""
    whole = jm.datasets.branching_manifold(n_cells=n_cells, n_features=(50, 100), rng=0)
    mdata = with_known(whole, np.zeros(n_cells, dtype=bool), np.random.default_rng(0))
    rows, columns = unknown(mdata)
    del whole
    before, began = peak(), time.perf_counter()
    f = sparse.csr_matrix((np.ones(n_cells, np.float32), (rows, columns)), shape=(n_cells, n_cells))
    jm.pp.correspondence(mdata, pairs=f)
    built = time.perf_counter() - began
    jm.tl.train(mdata, max_steps=100, rng=0)
    yield {"cells": n_cells, "build": built, "seconds": time.perf_counter() - began, "gb": peak(), "gb data": before}


def published() -> Iterator[dict]:
    if importlib.util.find_spec("unioncom") is None:
        yield {"skipped": "the package unioncom is not installed; see published_unioncom.py"}
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        script = Path(__file__).with_name("published_unioncom.py")
        subprocess.run([sys.executable, "-W", "ignore", str(script), "--out", str(out)], check=True)
        for method, row in json.loads(out.read_text()).items():
            yield {"method": method, **row}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


SECTIONS = {
    "published": published,
    "unsupervised": unsupervised,
    "reference": reference,
    "mismatch": mismatch,
    "linked": linked,
    "partial": partial,
    "large": large,
    "scale_10k": lambda: scale(10_000),
    "scale_100k": lambda: scale(100_000),
    "scale_1m": lambda: scale(1_000_000),
    "known_pairs": known_pairs,
}


def run(section: str, threads: int) -> None:
    """One section in this process: a row of JSON a line, so that its peak memory is its own."""
    jm.settings.verbosity = "error"
    torch.set_num_threads(threads)
    for row in SECTIONS[section]():
        print("row", json.dumps(row, default=float), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--run", choices=SECTIONS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(given.run, given.threads)
        return
    results: dict[str, list[dict]] = {}
    for section in given.only:
        command = [sys.executable, "-W", "ignore", __file__, "--run", section, "--threads", str(given.threads)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout:
                if not line.startswith("row "):
                    continue
                row = json.loads(line[4:])
                results.setdefault(section, []).append(row)
                shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
                print(section, "|", ", ".join(shown), flush=True)
                if given.out:
                    given.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
