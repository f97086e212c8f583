"""Whether what explains a prediction is exact, right, fast, and of biological sense.

python benchmarks/attribution.py --out FILE.json [--figures DIR] [--sections exact planted ...]

exact    additivity on motor cortex, and SHAP values against shap.DeepExplainer between features
planted  drivers of genes found again in `datasets.multiome`, three seeds, beside simple ways to rank regions
scale    seconds and peak memory of whole modalities, each in a process of its own
biology  top genes of motor cortex by knock-out against markers by an independent test, and pictures
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import scanpy as sc
import torch
from matplotlib import pyplot as plt
from sklearn.linear_model import RidgeCV

import jamie as jm

SECTIONS = ("exact", "planted", "scale", "biology")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for name in given.sections:
        quiet(given.threads)
        if name == "planted":
            results[name] = [planted(seed) for seed in given.seeds]
        else:
            run = {"exact": exact, "scale": lambda: scale(given.threads), "biology": lambda: biology(given.figures)}
            results[name] = run[name]()
        given.out.write_text(json.dumps(results, indent=1))
        print(json.dumps({name: results[name]}, indent=1), flush=True)


def quiet(threads: int) -> None:
    torch.set_num_threads(threads)
    jm.settings.n_threads, jm.settings.verbosity = threads, "error"


def motor_cortex(recipe: str, **settings: Any) -> tuple[Any, jm.JAMIE]:
    mdata = jm.datasets.load("patchseq_motor_cortex")
    jm.pp.split(mdata, rng=0)
    return mdata, jm.tl.train(mdata, recipe=recipe, rng=0, **settings)


def exact() -> dict[str, Any]:
    """29 electrophysiological features of 1,208 cells, between 1,286 genes."""
    found: dict[str, Any] = {}
    for recipe in ("default", "paper"):
        mdata, model = motor_cortex(recipe, **({"max_steps": 1_000} if recipe == "paper" else {}))
        features = list(mdata["ephys"].var_names)
        values = {}
        for method in ("deeplift",) if recipe == "default" else ("deeplift", "shap"):
            began, cpu = time.perf_counter(), time.process_time()
            jm.tl.explain(mdata, model, source="rna", target="ephys", features=features, method=method)
            rna = mdata["rna"]
            found[f"{recipe}, {method}"] = {
                "seconds": round(time.perf_counter() - began, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
                "additivity": rna.uns["jamie_shap_ephys"]["additivity"],
                "cells": rna.n_obs,
                "targets": len(features),
            }
            names = list(rna.varm["jamie_shap_ephys"])
            values[method] = np.stack([rna.layers[f"jamie_shap_ephys_{name}"] for name in names])
        if recipe == "paper":
            largest = np.abs(values["shap"]).max((1, 2))
            difference = np.abs(values["deeplift"] - values["shap"]).max((1, 2)) / largest
            found["largest difference of the two, relative to the largest value of the target"] = float(
                difference.max()
            )
    return found


def planted(seed: int) -> dict[str, Any]:
    """Share of drivers among the three highest regions of each gene: on its chromosome, and in the window."""
    mdata = jm.datasets.multiome(rng=seed)
    jm.pp.split(mdata, rng=seed)
    rna, atac, links = mdata["rna"], mdata["atac"], mdata.uns["true_links"]
    is_driver = np.zeros((atac.n_vars, rna.n_vars), dtype=bool)
    is_driver[atac.var_names.get_indexer(links["region"]), rna.var_names.get_indexer(links["gene"])] = True
    genes = rna.copy()  # the simple ways see all cells
    sc.pp.normalize_total(genes)
    sc.pp.log1p(genes)
    x, z = standardised(genes.X.toarray()), standardised(atac[genes.obs_names].X.toarray())
    scores = {"correlation": np.abs(z.T @ x) / len(x)}
    scores["ridge coefficients"] = np.abs(RidgeCV(alphas=10.0 ** np.arange(1, 6)).fit(z, x).coef_.T)
    seconds: dict[str, float] = {}
    default: jm.JAMIE | None = None
    for name, n_comps in (("default", None), ("200 components", 200)):
        if n_comps:
            jm.pp.prepare(mdata, n_comps=n_comps)
        began = time.perf_counter()
        model = jm.tl.train(mdata, rng=seed)
        default = default or model
        seconds[f"train, {name}"] = round(time.perf_counter() - began, 1)
        began = time.perf_counter()
        jm.tl.explain(mdata, model, source="atac", target="rna", n_cells=100, n_background=20, rng=seed)
        seconds[f"explain, {name}"] = round(time.perf_counter() - began, 1)
        began = time.perf_counter()
        jm.tl.knockout(mdata, model, source="atac", rng=seed)
        seconds[f"knockout, {name}"] = round(time.perf_counter() - began, 1)
        print(seed, seconds, flush=True)
        imputed = standardised(model.impute(mdata, source="atac", target="rna"))
        scores[f"correlation with imputed, {name}"] = np.abs(standardised(atac.X.toarray()).T @ imputed) / len(imputed)
        scores[f"explain, {name}"] = atac.varm["jamie_shap_rna"].to_numpy()
        about = atac.uns["jamie_knockout_correlation_rna"]
        scores[f"knockout, {name}"] = about["baselines"] - atac.varm["jamie_knockout_correlation_rna"].to_numpy()
    table = jm.tl.links(mdata, default, genes="rna", regions="atac", window=None, knockout=False, n_cells=20)
    partial = np.zeros(is_driver.shape)
    at = atac.var_names.get_indexer(table["region"]), rna.var_names.get_indexer(table["gene"])
    partial[at] = table["partial"].abs()
    scores["partial correlation of tl.links"] = partial
    near, same = candidates(mdata)
    return {
        "seed": seed,
        "chance": {"chromosome": is_driver.sum() / same.sum(), "window": is_driver.sum() / near.sum()},
        "precision": {
            name: {
                place: precision(np.where(among, score, -np.inf), is_driver)
                for place, among in (("chromosome", same), ("window", near))
            }
            for name, score in scores.items()
        },
        "seconds": seconds,
    }


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)


def precision(score: np.ndarray, is_driver: np.ndarray) -> float:
    top = np.argsort(-score, axis=0, kind="stable")[:3]
    return float(np.take_along_axis(is_driver, top, axis=0).mean())


def candidates(mdata: Any, window: int = 100_000) -> tuple[np.ndarray, np.ndarray]:
    """Regions × genes: whether within the window, and whether on one chromosome."""
    genes, regions = mdata["rna"].var, mdata["atac"].var
    tss = np.where(genes["strand"] == "+", genes["start"], genes["end"])
    middle = ((regions["start"] + regions["end"]) / 2).to_numpy()
    same = regions["chrom"].to_numpy()[:, None] == genes["chrom"].to_numpy()[None]
    return same & (np.abs(middle[:, None] - tss[None]) <= window), same


def scale(threads: int) -> list[dict[str, Any]]:
    """Each in a process of its own, from a model that was trained before."""
    mdata = jm.datasets.load("snareseq_mouse_cortex")
    rows = np.sort(np.random.default_rng(0).choice(mdata.n_obs, 2_000, replace=False))
    folder = Path.cwd() / "attribution_models"
    folder.mkdir(exist_ok=True)
    jm.tl.train(mdata[rows].copy(), rng=0).save(folder / "snare.jamie")
    _, model = motor_cortex("default")
    model.save(folder / "motor.jamie")
    context = multiprocessing.get_context("spawn")
    found = []
    for task in ("1,677 genes to 200 peaks", "25,734 peaks to 200 genes", "knock-out of 1,286 genes"):
        with context.Pool(1) as pool:
            found.append(pool.apply(timed, (task, folder, rows, threads)))
            print(found[-1], flush=True)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return found


def timed(task: str, folder: Path, rows: np.ndarray, threads: int) -> dict[str, Any]:
    quiet(threads)
    if task.startswith("knock-out"):
        mdata, model = jm.datasets.load("patchseq_motor_cortex"), jm.JAMIE.load(folder / "motor.jamie")
        began = time.perf_counter()
        jm.tl.knockout(mdata, model, source="rna", labels="cell_type")  # no split: all 1,208 cells
    else:
        mdata = jm.datasets.load("snareseq_mouse_cortex")[rows].copy()
        model = jm.JAMIE.load(folder / "snare.jamie")
        source, target = ("rna", "atac") if "genes to" in task else ("atac", "rna")
        n_cells = np.asarray((mdata[target].X > 0).sum(0)).ravel()
        features = mdata[target].var_names[np.argsort(-n_cells, kind="stable")[:200]]
        began = time.perf_counter()
        jm.tl.explain(mdata, model, source=source, target=target, features=list(features), by_cell=False)
    return {
        "task": task,
        "seconds": round(time.perf_counter() - began, 1),
        "peak_rss_gb": peak_rss_gb(),
    }


def peak_rss_gb() -> float:
    """Largest resident memory of this process; Linux, where getrusage would give that of its parent if larger."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024**2, 2)


def biology(figures: Path | None) -> dict[str, Any]:
    """Motor cortex: which genes hold the families apart, and what drives one feature."""
    mdata, model = motor_cortex("default")
    rna = mdata["rna"]
    markers = family_markers(rna)
    rng, found = np.random.default_rng(0), {"markers": len(markers), "genes": rna.n_vars, "top 20": {}}
    likelihood = jm.tl.knockout(mdata, model, source="rna", labels="cell_type", measure="likelihood")
    accuracy = jm.tl.knockout(mdata, model, source="rna", labels="cell_type")
    both = accuracy.assign(likelihood=likelihood["loss"])  # ties of the accuracy are broken by the likelihood
    for name, table in (("lta", both.sort_values(["loss", "likelihood"], ascending=False)), ("likelihood", likelihood)):
        top = list(table.index[:20])
        found["top 20"][name] = {
            "markers": sum(gene in markers for gene in top),
            "genes": top,
            "largest loss": float(table["loss"].max()),
            "tied with the twentieth": int((table["loss"] == table["loss"].iloc[19]).sum()),
        }
    random = [sum(gene in markers for gene in rng.choice(rna.var_names, 20, replace=False)) for _ in range(1_000)]
    found["top 20"]["random genes"] = {
        "markers": float(np.mean(random)),
        "at most, of 1,000 draws": int(np.max(random)),
    }
    feature = next(name for name in mdata["ephys"].var_names if "width" in name.lower())
    jm.tl.explain(mdata, model, source="rna", target="ephys", features=[feature])
    ranked = rna.varm["jamie_shap_ephys"].iloc[:, 0].sort_values(ascending=False)
    found["feature"] = {"name": feature, "top 15": {name: float(value) for name, value in ranked[:15].items()}}
    if figures:
        draw(mdata, feature, figures)
    return found


def family_markers(rna: Any) -> set[str]:
    """Up to 50 genes a family, by a Wilcoxon test of normalised counts against all other cells."""
    genes = rna.copy()
    sc.pp.normalize_total(genes)
    sc.pp.log1p(genes)
    sc.tl.rank_genes_groups(genes, "cell_type", method="wilcoxon")
    found: set[str] = set()
    for family in genes.obs["cell_type"].unique():
        table = sc.get.rank_genes_groups_df(genes, family)
        found |= set(table[(table["pvals_adj"] < 1e-3) & (table["logfoldchanges"] > 1)]["names"][:50])
    return found


def draw(mdata: Any, feature: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("bars", "beeswarm", "waterfall"):
        ax = jm.pl.importance(mdata, source="rna", target="ephys", feature=feature, kind=kind)
        save(ax, folder / f"importance_{kind}.png")
    for measure in ("lta", "likelihood"):
        save(jm.pl.knockout(mdata, source="rna", target="ephys", measure=measure), folder / f"knockout_{measure}.png")


def save(ax: Any, path: Path) -> None:
    ax.figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(ax.figure)


if __name__ == "__main__":
    main()
