"""How good are imputation and alignment, beside every simple method, on all paired sets: the claims of README and docs.

Protocol, the same for all methods: a fifth of the cells is held out, drawn by the number of the split, in the section
"groups" whole mice or batches; scaling, components, feature choice and tuning see the training cells only; settings are
the same for every data set. The model is trained with several seeds on each split, simple methods are fitted once.
Measures are those of `jm.tl.evaluate` on the held-out cells; the section "in-sample" scores the cells that were trained
on, and says so.

    python benchmarks/accuracy.py --out benchmarks/results/accuracy.json     # hours
    python benchmarks/accuracy.py --quick --out ...                          # minutes
    python benchmarks/accuracy_report.py benchmarks/results/*.json --out docs/benchmark         # tables and figures

Records that the file has already are not computed again. Each job has its own process, whose peak memory it reports.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mudata import MuData
from sklearn.preprocessing import normalize

import jamie as jm
from jamie.baselines import ALIGNERS, METHODS, align
from jamie.metrics import foscttm, label_transfer_accuracy
from jamie.train import recipe_of

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
SECTIONS = ["held-out", "groups", "unpaired", "paper", "in-sample", "partial"]
GROUPS = {"patchseq_motor_cortex": "mouse", "citeseq_pbmc_mosaic": "batch", "snareseq_mouse_cortex": "batch"}
PARTIAL = {"citeseq_pbmc10k": (0.5, 0.25, 0.1, 0.01), "patchseq_motor_cortex": (0.5, 0.25, 0.1, 0.01)}
FEW_GROUPS = 5  # fewer are held out one by one
PAPER_TIMES = 10  # the paper's recipe gets this many times the seconds of the default before it is stopped
LABEL = "cell_type"
UNNAMED = "Mis"  # miscellaneous, of SNARE-seq cortex


def held_out(
    name: str, split: int, seeds: list[int], baselines: tuple[str, ...], group: str | None = None
) -> list[dict]:
    """Train with each seed on one split; the baselines, which no seed of a training changes, are fitted once."""
    mdata = jm.datasets.load(name)
    hold_out(mdata, split, group)
    section, records = "groups" if group else "held-out", []
    for seed in seeds:
        trained = mdata.copy()
        model, used = timed(trained, "default", seed)
        methods = () if records else baselines
        table = jm.tl.evaluate(trained, model, labels=LABEL, baselines=methods, rng=split)
        ours = table["method"] == "jamie"
        if not records:
            records += recorded(table[~ours], section=section, seed=seed, peak_gb=peak_gb())
            records += [] if group else aligned(trained, model, seed, section)
        records += recorded(table[ours], section=section, seed=seed, **used)
    return records


def hold_out(mdata: MuData, split: int, group: str | None) -> None:
    """Hold out random cells or whole groups; of a few groups with pairs, one after the other."""
    if group:
        paired = np.logical_and.reduce([mdata.obs_names.isin(mdata[m].obs_names) for m in mdata.mod])
        groups = sorted(mdata.obs.loc[paired, group].dropna().unique())
        if len(groups) < FEW_GROUPS:
            is_test = (mdata.obs[group] == groups[split % len(groups)]).to_numpy()
            mdata.obs["jamie_split"] = pd.Categorical(np.where(is_test, "test", "train"))
            return
    jm.pp.split(mdata, group=group, rng=split)


def paper(name: str, split: int, seconds: float) -> list[dict]:
    """The paper's recipe, stopped after `PAPER_TIMES` times the seconds of the default if it has not ended before."""
    mdata, seed = jm.datasets.load(name), 0
    jm.pp.split(mdata, rng=split)
    published, epochs = recipe_of("paper"), 10
    model, used = timed(mdata.copy(), recipe_of(published, max_steps=epochs), seed)
    longest = int(PAPER_TIMES * seconds / model.summary_.seconds * epochs)
    capped = longest < published.max_steps
    if capped:
        least = min(published.min_steps, longest // 2)
        published = recipe_of(published, max_steps=longest, min_steps=least)
    model, used = timed(mdata, published, seed)
    table = jm.tl.evaluate(mdata, model, labels=LABEL, baselines=(), rng=split)
    return recorded(table, "jamie, paper", section="paper", capped=capped, seed=seed, **used)


def in_sample(name: str, seed: int) -> list[dict]:
    """All cells are trained on and scored; types the authors could not name count as a type, and are left out."""
    mdata = jm.datasets.load(name)
    named = mdata.obs[LABEL] != UNNAMED
    mdata.obs["named types"] = mdata.obs[LABEL].where(named)
    records = []
    for recipe in ("default", "integrate"):
        model, used = timed(mdata, recipe, seed)
        for label in [LABEL] if named.all() else [LABEL, "named types"]:
            table = jm.tl.evaluate(mdata, model, labels=label, baselines=(), rng=seed)
            records += recorded(table, f"jamie, {recipe}", section="in-sample", labels=label, **used)
    return records + aligned(mdata, model, seed, "in-sample")


def partial(name: str, split: int, share: float, baselines: tuple[str, ...]) -> list[dict]:
    """A share of the training pairs is known; the other training cells are left in one modality each."""
    mdata = jm.datasets.load(name)
    jm.pp.split(mdata, rng=split)
    a, b = list(mdata.mod)[:2]
    rng = np.random.default_rng(split)
    split = mdata.obs["jamie_split"]
    train = rng.permutation(mdata.obs_names[split == "train"])
    lonely = train[max(10, round(share * len(train))) :]
    dropped = {a: lonely[::2], b: lonely[1::2]}
    sparse = MuData({m: mdata[m][~mdata[m].obs_names.isin(dropped[m])].copy() for m in (a, b)})
    for column in ("jamie_split", LABEL):
        sparse.obs[column] = mdata.obs[column].reindex(sparse.obs_names)
    about = {"section": "partial", "share": share, "n_pairs": len(train) - len(lonely)}
    model, used = timed(sparse, "default", 0)
    table = jm.tl.evaluate(sparse, model, labels=LABEL, baselines=baselines, rng=split)
    ours = table["method"] == "jamie"
    return recorded(table[ours], **about, **used) + recorded(table[~ours], **about)


def aligned(mdata: MuData, model: jm.JAMIE, seed: int, section: str) -> list[dict]:
    """Linear methods and manifold alignment on the same inputs and training pairs."""
    a, b = list(model.preparations_)[:2]
    cells = model.open(mdata)
    x, y = (cells.inputs(m) for m in (a, b))
    pairs = cells.pairs(a, b)
    at, on = pairs.train if section == "in-sample" else pairs.test
    records = []
    for method in ALIGNERS:
        began, cpu = time.perf_counter(), time.process_time()
        u, v = align(method, x, y, pairs.train, rng=seed)
        used = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
        for source, target, p, q in ((a, b, u[at], v[on]), (b, a, v[on], u[at])):
            about = {"section": section, "method": method, "source": source, "target": target, "cells": section}
            records.append({**about, **positions(p, q, mdata.obs[LABEL].reindex(mdata[a].obs_names[at])), **used})
    return records


def unpaired(name: str, split: int) -> list[dict]:
    """UnionCom's question, answered from geometry alone: no pair is known, and cells are carried over by F̃."""
    mdata = jm.datasets.load(name)
    jm.pp.split(mdata, rng=split)
    a, b = list(mdata.mod)[:2]
    renamed = mdata[b].copy()
    renamed.obs_names = [f"{cell} {b}" for cell in renamed.obs_names]
    apart = MuData({a: mdata[a].copy(), b: renamed})
    known = mdata.obs["jamie_split"]
    names = [cell if cell in known.index else cell.removesuffix(f" {b}") for cell in apart.obs_names]
    apart.obs["jamie_split"] = known.reindex(names).to_numpy()
    began, cpu = time.perf_counter(), time.process_time()
    jm.pp.prepare(apart)
    jm.pp.infer_correspondence(apart, method="gw", rng=split)
    used = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu, "peak_gb": peak_gb()}
    cells = {m: apart.obs_names.get_indexer(apart[m].obs_names) for m in (a, b)}
    f = apart.obsp[f"jamie_inferred_{a}_{b}"][cells[a]][:, cells[b]]
    held = mdata.obs_names[known == "test"].intersection(mdata[a].obs_names).intersection(mdata[b].obs_names)
    x, y = (apart[m].obsm["X_jamie_input"] for m in (a, b))
    at, on = mdata[a].obs_names.get_indexer(held), mdata[b].obs_names.get_indexer(held)
    carried = {a: (normalize(f, norm="l1") @ y)[at], b: (normalize(f.T.tocsr(), norm="l1") @ x)[on]}
    records = []
    for source, target, own in ((a, b, y[on]), (b, a, x[at])):
        about = {
            "section": "held-out",
            "method": "jamie, no pairs",
            "source": source,
            "target": target,
            "cells": "held-out",
        }
        records.append({**about, **positions(carried[source], own, mdata.obs[LABEL].reindex(held)), **used})
    return records


def positions(p: np.ndarray, q: np.ndarray, labels: pd.Series) -> dict[str, float]:
    """How near the rows of `p`, of the source, are to their own of `q`, of the target, and to its label."""
    of = labels.astype(object).to_numpy()
    lta = label_transfer_accuracy(p, q, of, labels_y=of, n_neighbors=5)
    return {"foscttm": foscttm(p, q), "lta": lta}


def timed(mdata: MuData, recipe: object, seed: int) -> tuple[jm.JAMIE, dict[str, float]]:
    began, cpu = time.perf_counter(), time.process_time()
    model = jm.tl.train(mdata, recipe=recipe, rng=seed)
    used = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    return model, {**used, "peak_gb": peak_gb()}


def recorded(table: pd.DataFrame, method: str | None = None, **about: object) -> list[dict]:
    records = table.to_dict(orient="records")
    return [{**record, **({"method": method} if method else {}), **about} for record in records]


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


JOBS = {
    "held-out": held_out,
    "groups": held_out,
    "unpaired": unpaired,
    "paper": paper,
    "in-sample": in_sample,
    "partial": partial,
}


def job(task: tuple, threads: int) -> list[dict]:
    """Run one task in a fresh process; a method that fails is recorded with its error."""
    torch.set_num_threads(threads)
    jm.settings.n_threads, jm.settings.verbosity = threads, "warning"
    kind, name, split, *rest = task
    try:
        found = JOBS[kind](name, split, *rest)
    except Exception as error:  # noqa: BLE001 - listed in the table
        traceback.print_exc()
        found = [{"section": kind, "method": "jamie", "error": f"{type(error).__name__}: {error}"}]
    return [{"data": name, "split": split, "seed": 0, **record} for record in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=DATA, choices=DATA, metavar="NAME")
    parser.add_argument("--sections", nargs="+", default=SECTIONS, choices=SECTIONS)
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of the training, on each split")
    parser.add_argument("--baselines", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD")
    parser.add_argument(
        "--quick", action="store_true", help="one split and seed, without MLP, groups, paper and shares"
    )
    parser.add_argument("--jobs", type=int, default=1, help="at a time; seconds and memory are those of each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.quick:
        given.sections, given.splits, given.seeds = ["held-out", "unpaired"], given.splits[:1], given.seeds[:1]
        given.baselines = [method for method in given.baselines if method != "mlp"]
    records = json.loads(given.out.read_text()) if given.out.exists() else []
    given.out.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    fresh = {"mp_context": get_context("spawn"), "max_tasks_per_child": 1}
    for is_last in (False, True):  # the paper's recipe asks for our seconds
        sections = [section for section in given.sections if (section == "paper") is is_last]
        pending = [
            task
            for split in given.splits
            for name in given.data
            for task in tasks(name, split, sections, given, records)
        ]
        with ProcessPoolExecutor(given.jobs, **fresh) as pool:
            running = {pool.submit(job, task, given.threads): task for task in pending}
            for ended in as_completed(running):
                records += ended.result()
                given.out.write_text(json.dumps(records, indent=1))
                print(f"{time.perf_counter() - began:5.0f} s: {running[ended][:3]}", flush=True)


def tasks(
    name: str, split: int, sections: list[str], given: argparse.Namespace, records: list[dict]
) -> Iterator[tuple]:
    """What is to be done for one data set and split, without what `records` hold already."""

    def done(section: str, **about: object) -> list[dict]:
        wanted = {"data": name, "split": split, "section": section, **about}
        return [r for r in records if all(r.get(key) == value for key, value in wanted.items())]

    baselines = tuple(given.baselines)
    if "held-out" in sections and not done("held-out", method="jamie"):
        yield "held-out", name, split, given.seeds, baselines
    if "groups" in sections and name in GROUPS and not done("groups"):
        yield "groups", name, split, given.seeds, baselines, GROUPS[name]
    if "unpaired" in sections and not done("held-out", method="jamie, no pairs"):
        yield "unpaired", name, split
    if "paper" in sections and not done("paper"):
        ours = done("held-out", method="jamie")
        if ours:
            yield "paper", name, split, ours[0]["seconds"]
    if "in-sample" in sections and not done("in-sample"):
        yield "in-sample", name, split
    for share in PARTIAL.get(name, ()) if "partial" in sections else ():
        if not done("partial", share=share):
            yield "partial", name, split, share, baselines


if __name__ == "__main__":
    main()
