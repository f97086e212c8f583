"""Confidence, novelty and probabilities: whether surer cells err less, new types are told, and labels are right.

On held-out cells, both ways: the root mean squared error of the surer half of the cells as a share of that of the
others, and of the half that errs least, which no confidence can beat; the share of cells that are taken for new; the
expected calibration error of labels and partners beside that of as many true probabilities. With ``--left-out TYPE`` a
type of cells is held out as a whole, and how well novelty tells it is its AUROC against the held-out cells of others.

    python benchmarks/sureness.py patchseq_motor_cortex --splits 0 1 2 --out motor.json
    python benchmarks/sureness.py patchseq_motor_cortex --splits 0 --left-out Sst
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

import jamie as jm

LABELS = "cell_type"


def held_out(name: str, split: int, left_out: str | None):
    """Data of a split, and the type of each cell."""
    mdata = getattr(jm.datasets, name)()
    jm.pp.split(mdata, rng=split)
    types = mdata.obs[LABELS].astype(str)
    if left_out is not None:
        parts = np.where(types == left_out, "test", mdata.obs["jamie_split"].astype(str))
        mdata.obs["jamie_split"] = pd.Categorical(parts, categories=["train", "test"])
    return mdata, types


def novelty_of(mdata, types: pd.Series, source: str, target: str, left_out: str) -> dict[str, Any]:
    """How well a type that was left out is told from held-out cells of other types."""
    obs = mdata[source].obs[mdata[source].obs["jamie_role"] == "held-out"]
    novelty, is_new = obs[f"jamie_novelty_{target}"], types.reindex(obs.index) == left_out
    return {
        "auroc": roc_auc_score(is_new, novelty),
        "known taken for new": (novelty[~is_new] > 1).mean(),
        "new taken for new": (novelty[is_new] > 1).mean(),
        "n_cells": int(is_new.sum()),
    }


def confidence_of(mdata, model: jm.JAMIE, source: str, target: str) -> dict[str, Any]:
    """Error of the surer half of the cells, and share of cells taken for new."""
    jm.tl.impute(mdata, model, source=source, target=target, min_confidence=0)
    pair = jm.get.comparison(mdata, source=source, target=target)
    obs = mdata[source].obs.loc[pair.measured.index]
    off = (pair.measured.to_numpy() - pair.imputed.to_numpy()) / model.calibration(source, target).sd
    error = np.sqrt(np.nanmean(np.square(off[:, pair.measured.std() > 1e-6]), axis=1))
    confidence = obs[f"jamie_imputation_confidence_{target}"].to_numpy()
    surer, best = confidence >= np.median(confidence), error <= np.median(error)
    squared = np.square(error)
    return {
        "surer half": error[surer].mean() / error[~surer].mean(),
        "surer half, squared": squared[surer].mean() / squared[~surer].mean(),
        "half that errs least": error[best].mean() / error[~best].mean(),
        "taken for new": (obs[f"jamie_novelty_{target}"] > 1).mean(),
        "n_cells": len(error),
    }


def probabilities_of(mdata, types: pd.Series, source: str, target: str) -> dict[str, Any]:
    """Calibration errors of labels, of whose cells none is labelled that is held out, and of partners."""
    is_test = (mdata.obs["jamie_split"] == "test").reindex(mdata[source].obs_names)
    mdata[source].obs["known"] = types.reindex(mdata[source].obs_names).mask(is_test).astype("category")
    mdata[target].obs["true"] = types.reindex(mdata[target].obs_names)
    jm.tl.transfer_labels(mdata, labels="known", source=source, target=target)
    jm.tl.match(mdata, source=source, target=target)
    labels = jm.get.reliability(mdata, source=source, target=target, labels="known", truth="true")
    partners = jm.get.reliability(mdata, source=source, target=target)
    found: dict[str, Any] = {}
    for what, table in (("labels", labels), ("partners", partners)):
        found[f"error of {what}"], found[f"floor of {what}"] = table.loc[0, ["calibration_error", "floor"]]
    found["said of labels"], found["right of labels"] = (
        float(np.average(labels[column], weights=labels["n"])) for column in ("probability", "share_right")
    )
    found["mass of 20"], found["partner among 20"] = (
        float((partners[column] * partners["n"]).sum() / partners.loc[0, "n_cells"])
        for column in ("probability", "share_right")
    )
    return found


def records(name: str, split: int, left_out: str | None, max_steps: int | None) -> list[dict[str, Any]]:
    """What is found in one split, both ways."""
    mdata, types = held_out(name, split, left_out)
    began = time.process_time()
    model = jm.tl.train(mdata, rng=0, max_steps=max_steps)
    about = {"set": name, "split": split, "left_out": left_out, "seconds": time.process_time() - began}
    found = []
    for source, target in permutations(mdata.mod, 2):
        if left_out is not None:
            scores = novelty_of(mdata, types, source, target, left_out)
        else:
            scores = confidence_of(mdata, model, source, target) | probabilities_of(mdata, types, source, target)
        found.append(about | {"source": source, "target": target} | scores)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("set", help="a function of jm.datasets of two modalities, with cell types")
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--left-out", metavar="TYPE", help="type of cells to leave out of the training")
    parser.add_argument("--max-steps", type=int, help="fewer steps; novelty does not depend on the networks")
    parser.add_argument("--out", type=Path, help="where to write the records as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = [record for split in given.splits for record in records(given.set, split, given.left_out, given.max_steps)]
    print(pd.DataFrame(found).drop(columns=["set", "left_out"]).round(4).T.to_string())
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1, default=float))


if __name__ == "__main__":
    main()
