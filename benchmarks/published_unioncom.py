"""The correspondence of eq. 8 beside the package `unioncom` 0.4.0, on scGEM and on its own geodesic distances.

Both matches are scored alike: the objective with the best α, how far the constraints are missed, and label transfer and
FOSCTTM after the cells of the first modality are carried to the second (F @ its principal components).

    pip install unioncom==0.4.0 --no-deps
    python benchmarks/published_unioncom.py
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

import jamie as jm
from jamie.correspondence._unioncom import _round as made_feasible
from jamie.correspondence._unioncom import unioncom

STEPS = 2_000  # the package's default


def package():
    """Import `unioncom`, which asks for a numpy alias that is gone and for a torchvision that it never uses."""
    try:
        version = importlib.metadata.version("unioncom")
    except importlib.metadata.PackageNotFoundError:
        sys.exit("expected the package unioncom to compare with, found none; pip install unioncom==0.4.0 --no-deps")
    np.int = int  # noqa: NPY001
    torchvision = types.ModuleType("torchvision")
    torchvision.models = types.ModuleType("torchvision.models")
    sys.modules.setdefault("torchvision", torchvision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its `is not "geodesic"`
        from unioncom import UnionCom, utils
    print("unioncom", version)
    return UnionCom.UnionCom, utils.geodesic_distances


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return work(), time.process_time() - began


def score(f, k_x, k_y, y, labels) -> dict[str, float]:
    g = f @ k_y @ f.T
    alpha = np.vdot(k_x, g) / np.vdot(k_x, k_x)
    carried = f @ y
    return {
        "objective": np.square(alpha * k_x - g).sum() / np.square(k_y).sum(),
        "1 - cos²": 1 - np.vdot(k_x, g) ** 2 / (np.vdot(k_x, k_x) * np.vdot(g, g)),
        "alpha": alpha,
        "rows off 1": np.abs(f.sum(1) - 1).max(),
        "columns above cap": max(0.0, (f.sum(0) - max(1, len(k_x) / len(k_y))).max()),
        "least entry": f.min(),
        "cells a row": np.exp(-(f * np.log(np.maximum(f, 1e-300))).sum(1).mean()),
        "label transfer": jm.metrics.label_transfer_accuracy(carried, y, labels),
        "foscttm": jm.metrics.foscttm(carried, y),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="where scgem.h5mu lies or is kept")
    parser.add_argument("--components", type=int, default=10, help="principal components that judge a match")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, geodesic_distances = package()
    mdata = jm.datasets.load("scgem", folder=given.data_dir)
    labels = mdata.obs["cell_type"].to_numpy()
    x, y = (np.asarray(mdata[name].X, dtype=float) for name in ("rna", "met"))
    x, y = ((v - v.min()) / (v.max() - v.min()) for v in (x, y))  # as the package does
    k_x, k_y = (np.array(geodesic_distances(v, 40)) for v in (x, y))
    space = PCA(given.components, random_state=0).fit_transform(y)

    theirs = model(epoch_pd=STEPS)
    theirs.device = torch.device("cpu")
    with contextlib.redirect_stdout(io.StringIO()):
        f, seconds = timed(lambda: theirs.Prime_Dual([k_x, k_y], dx=x.shape[1], dy=y.shape[1]))
    f, clock = f.astype(float), {"cpu seconds": seconds, "ms a step": 1e3 * seconds / STEPS, "steps": STEPS}
    feasible = made_feasible(f, max(1.0, len(x) / len(y)))
    rows = {
        "unioncom 0.4.0": score(f, k_x, k_y, space, labels) | clock,
        "unioncom 0.4.0, made feasible": score(feasible, k_x, k_y, space, labels) | clock,
    }
    for n_starts in (1, 8):
        for seed in given.seeds if n_starts > 1 else [0]:
            rng = np.random.default_rng(seed)
            found, seconds = timed(lambda n=n_starts, rng=rng: unioncom(k_x, k_y, n_starts=n, rng=rng))
            clock = {"cpu seconds": seconds, "steps": found.n_steps}
            if n_starts == 1:  # with more, the steps of the others are in the seconds
                clock["ms a step"] = 1e3 * seconds / found.n_steps
                below = found.trace < rows["unioncom 0.4.0, made feasible"]["objective"]
                clock["steps to their objective"] = int(np.argmax(below)) if below.any() else np.nan
            name = f"jamie, {n_starts} starts, seed {seed}"
            rows[name] = score(found.plan, k_x, k_y, space, labels) | clock | {"converged": found.converged}
    table = pd.DataFrame(rows)
    print(table.to_string(float_format="{:.4g}".format))
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(json.loads(table.to_json()), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
