"""`jamie demo`: the main job, from cells to figures."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mudata import MuData

import jamie as jm
from jamie._errors import FetchError, MissingPackageError
from jamie._interrupts import InterruptedBy

from ._figures import headless, save
from ._write import write_mudata

REAL = ("patchseq_motor_cortex", "citeseq_pbmc_mosaic")
FIGURES = ("_embedding.png", "_history.png", "_imputation.png")
BASELINES = {"knn": "kNN", "ridge": "ridge", "supervised_kernel_ridge": "supervised kernel"}


def demo(out: Path, *, seed: int = 0) -> None:
    """Train, embed, impute held-out cells both ways, print how good it is, and leave a MuData and three figures."""
    out.mkdir(parents=True, exist_ok=True)
    data = _datasets(seed)
    tables = [_one(name, mdata, out, seed) for name, mdata in data.items()]
    print("\nHeld-out cells: mean correlation of imputed features beside simple predictors, and alignment\n")
    print(pd.concat(tables).to_string(index=False))
    print(f"\nWritten to {out}/: " + ", ".join(f"{name}{end}" for name in data for end in (*FIGURES, ".h5mu")))


def _datasets(seed: int) -> dict[str, MuData]:
    """Real cells where they can be had, else simulated ones; what is missing is said, and why."""
    found = {}
    for name in REAL:
        try:
            found[name] = jm.datasets.load(name)
        except (FetchError, MissingPackageError) as error:
            print(f"without {name}: {error}")
    if not found:
        print("simulated cells on a branching manifold instead")
        found["branching_manifold"] = jm.datasets.branching_manifold(rng=seed)
    return found


def _one(name: str, mdata: MuData, out: Path, seed: int) -> pd.DataFrame:
    print(
        f"\n{name}: "
        + ", ".join(f"{m} {adata.n_obs} cells × {adata.n_vars} features" for m, adata in mdata.mod.items())
    )
    jm.pp.split(mdata, rng=seed)
    began = time.perf_counter()
    model = jm.tl.train(mdata, rng=seed)
    seconds = time.perf_counter() - began
    if model.summary_.interrupted:
        raise InterruptedBy(model.summary_.interrupted)
    a, b = list(mdata.mod)[:2]
    for source, target in ((a, b), (b, a)):
        jm.tl.impute(mdata, model, source=source, target=target)
    scores = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=list(BASELINES), rng=seed)
    with headless():
        figures: tuple[Axes | Figure, ...] = (
            jm.pl.embedding(mdata, color="cell_type"),
            jm.pl.history(mdata),
            jm.pl.imputation(mdata, source=a, target=b),
        )
        for figure, end in zip(figures, FIGURES, strict=True):
            save(figure, out / f"{name}{end}")
    write_mudata(mdata, out / f"{name}.h5mu")
    return _summary(name, scores, seconds)


def _summary(name: str, scores: pd.DataFrame, seconds: float) -> pd.DataFrame:
    rows = []
    for (source, target), group in scores.groupby(["source", "target"], sort=False):
        by_method = group.set_index("method")
        rows.append(
            {
                "data": name,
                "imputed": f"{source} → {target}",
                "jamie": f"{by_method.loc['jamie', 'correlation']:.3f}",
                **{label: f"{by_method.loc[method, 'correlation']:.3f}" for method, label in BASELINES.items()},
                "FOSCTTM": f"{by_method.loc['jamie', 'foscttm']:.3f}",
                "LTA": f"{by_method.loc['jamie', 'lta']:.3f}",
                "seconds": f"{seconds:.0f}",
            }
        )
    return pd.DataFrame(rows)
