"""Imputation and alignment of held-out cells: the default recipe beside simple predictors and the paper's model.

A fifth of the cells is held out, the same for all methods; scaling, components and tuning see the training cells only.

    JAMIE_DATA_DIR=... python benchmarks/held_out.py --data patchseq_motor_cortex --paper --out FILE.json
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import pandas as pd
import torch

import jamie as jm

DATA = [
    "patchseq_motor_cortex",
    "citeseq_pbmc10k",
    "citeseq_pbmc_mosaic",
    "snareseq_mouse_cortex",
    "snareseq_cellline",
    "scgem",
    "sim_dyngen_rna_protein",
    "sim_rna_atac_5types",
]


def score(name: str, seed: int, recipe: str) -> pd.DataFrame:
    mdata = jm.datasets.load(name)
    jm.pp.split(mdata, rng=seed)
    began, cpu = time.perf_counter(), time.process_time()
    model = jm.tl.train(mdata, recipe=recipe, rng=seed)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    baselines = ["knn", "ridge", "kernel_ridge"] if recipe == "default" else []
    table = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=baselines, rng=seed)
    ours = table["method"] == "jamie"
    table.loc[ours, ["seconds", "cpu_seconds"]] = [seconds, cpu_seconds]
    table.loc[ours, "method"] = f"jamie, {recipe}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return table.assign(data=name, seed=seed, peak_gb=peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=DATA[:3], choices=DATA, metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--paper", action="store_true", help='train recipe="paper" on the same cells too')
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jm.settings.n_threads = given.threads
    jm.settings.verbosity = "warning"
    tables = []
    for name in given.data:
        for seed in given.seeds:
            for recipe in ("default", "paper") if given.paper else ("default",):
                tables.append(score(name, seed, recipe))
                print(_shown(tables[-1]).to_string(index=False), flush=True)
    everything = pd.concat(tables)
    means = _shown(everything).groupby(["data", "source", "target", "method"], sort=False).mean(numeric_only=True)
    print("\nmean over seeds\n" + means.drop(columns="seed").round(4).to_string())
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(everything.to_dict(orient="records"), indent=1))


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    columns = [
        "data",
        "seed",
        "source",
        "target",
        "method",
        "correlation",
        "auroc",
        "foscttm",
        "lta",
        "seconds",
        "cpu_seconds",
    ]
    return table[[column for column in columns if column in table]].round(4)


if __name__ == "__main__":
    main()
