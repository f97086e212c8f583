"""What each term of the default recipe is worth, and how many pairs it takes: motor cortex Patch-seq, held-out cells.

A fifth of the cells is held out. Each variant leaves one term of the loss out of the default recipe, or the kernel
regression, and is trained on all pairs; what rests on inferred partners is left out with half of the pairs, for with
all of them nothing is inferred. Of the pairs that are not told, both cells stay in training, each by itself.

    python benchmarks/ablation.py --out benchmarks/results/ablation.json --page docs/benchmark   # an hour

Records that the file has already are not computed again. Splits from 10 on are those that settings were chosen on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from mudata import MuData

import jamie as jm

DEFAULT = jm.recipes["default"]
LABEL = "cell_type"
MEASURES = {
    "rna → ephys": "rna → ephys",
    "ephys → rna": "ephys → rna",
    "networks, rna → ephys": "networks alone:\nrna → ephys",
    "networks, ephys → rna": "networks alone:\nephys → rna",
    "FOSCTTM": "FOSCTTM\n(lower is better)",
    "LTA": "LTA",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "default recipe": {},
    "no KL divergence": {"kl": 0.0},
    "no combination": {"combination": 0.0},
    "no reconstruction": {"reconstruction": 0.0},
    "no cross term": {"cross": 0.0},
    "no contrastive term": {"contrastive": 0.0},
    "no kernel": {"kernel_mix": False},
}
WITH_FEW_PAIRS: dict[str, dict[str, Any]] = {
    "default recipe": {},
    "no alignment": {"alignment": 0.0},
    "no inferred partners in the contrast": {"inferred": 0.0},
    "nothing inferred": {"infer_below": 0.0},
    "no contrastive term": {"contrastive": 0.0},
}
SHARES = [1.0, 0.75, 0.5]


def told(mdata: MuData, share: float, split: int) -> MuData:
    """A copy in which `share` of the training pairs are known, and all of the held-out ones, which score."""
    mdata = mdata.copy()
    jm.pp.split(mdata, rng=split)
    if share == 1:
        return mdata
    known = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    train = np.random.default_rng(split).permutation(mdata.obs_names[mdata.obs["jamie_split"] == "train"])
    known = known.append(pd.Index(train[: round(share * len(train))]))
    jm.pp.correspondence(mdata, pairs=pd.DataFrame(dict.fromkeys(mdata.mod, known)))
    return mdata


def record(mdata: MuData, changes: dict[str, Any], seed: int, baselines: tuple[str, ...]) -> list[dict[str, Any]]:
    """Scores of one training on held-out cells, and of the baselines, by method."""
    began = time.process_time()
    model = jm.tl.train(mdata, recipe=replace(DEFAULT, **changes), rng=seed)
    seconds = time.process_time() - began
    table = jm.tl.evaluate(mdata, model, labels=LABEL, baselines=baselines, rng=seed)
    records = [{"method": method, **imputed(rows)} for method, rows in table.groupby("method", sort=False)]
    ours = table[table["method"] == "jamie"]
    records[0] |= {"FOSCTTM": float(ours["foscttm"].mean()), "LTA": float(ours["lta"].mean()), "cpu_seconds": seconds}
    if model.recipe.kernel_mix:
        for a, b in permutations(mdata.mod):
            model.network_.kernel_mix(a, b).mix_weight.zero_()
        table = jm.tl.evaluate(mdata, model, baselines=())
    alone = imputed(table[table["method"] == "jamie"])
    records[0] |= {f"networks, {direction}": r for direction, r in alone.items()}
    return records


def imputed(rows: pd.DataFrame) -> dict[str, float]:
    """Mean correlation by direction."""
    directions = rows["source"] + " → " + rows["target"]
    return {direction: float(r) for direction, r in zip(directions, rows["correlation"], strict=True)}


def tasks() -> list[dict[str, Any]]:
    """All trainings, by section."""
    return [
        *({"section": "terms", "share": 1.0, "variant": variant} for variant in VARIANTS),
        *({"section": "terms", "share": 0.5, "variant": variant} for variant in WITH_FEW_PAIRS),
        {"section": "terms", "share": 0.75, "variant": "default recipe"},
    ]


def effects(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """Difference of each variant from the default of the same split and seed: mean and sd, a row per variant."""
    ours = table[(table["method"] == "jamie") & (table["share"] == share)]
    scores = ours.set_index(["variant", "split", "seed"])[list(MEASURES)]
    default = scores.xs("default recipe")
    names = list(dict.fromkeys(ours["variant"]))
    difference = pd.concat({name: scores.xs(name) - default for name in names if name != "default recipe"})
    return difference.groupby(level=0, sort=False).agg(["mean", "std"])


def of_terms(table: pd.DataFrame, share: float) -> str:
    """The default's scores, and what each variant changes."""
    ours = table[(table["method"] == "jamie") & (table["share"] == share) & (table["variant"] == "default recipe")]
    pairs = "all pairs" if share == 1 else f"{share:.0%} of the pairs"
    lines = [
        f"| {pairs} | {' | '.join(MEASURES)} |",
        "| --- |" + " --- |" * len(MEASURES),
        "| default recipe | " + " | ".join(f"{ours[m].mean():.3f}" for m in MEASURES) + " |",
    ]
    for variant, row in effects(table, share).iterrows():
        shown = [f"{row[m, 'mean']:+.3f} ± {row[m, 'std']:.3f}".replace("-", "−") for m in MEASURES]
        lines.append(f"| {variant} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def of_pairs(table: pd.DataFrame) -> str:
    """The default recipe and kNN by share of the pairs."""
    default = table[table["variant"] == "default recipe"]
    shown_measures = [m for m in MEASURES if not m.startswith("networks")]
    means = default.groupby(["method", "share"])[shown_measures].mean()
    lines = [f"| pairs known | | {' | '.join(shown_measures)} |", "| --- |" + " --- |" * (1 + len(shown_measures))]
    for share, (method, name) in product(SHARES, (("jamie", "jamie"), ("knn", "kNN"))):
        row = means.loc[(method, share)]
        shown = ["" if np.isnan(row[m]) else f"{row[m]:.3f}" for m in shown_measures]
        lines.append(f"| {share:.0%} | {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def figure(table: pd.DataFrame, path: Path) -> None:
    """What each variant changes, a panel per measure; all pairs above, half of them below."""
    by_share = {share: effects(table, share) for share in (1.0, 0.5)}
    heights = [len(found) for found in by_share.values()]
    fig, axes = plt.subplots(
        2,
        len(MEASURES),
        figsize=(12, 0.7 + 0.3 * sum(heights)),
        sharex="col",
        height_ratios=heights,
        layout="constrained",
    )
    for row, (share, found) in zip(axes, by_share.items(), strict=True):
        at = np.arange(len(found))
        for ax, measure in zip(row, MEASURES, strict=True):
            mean, sd = found[measure, "mean"], found[measure, "std"]
            worse = mean > 0 if measure == "FOSCTTM" else mean < 0
            ax.axvline(0, color="0.3", lw=0.9)
            ax.barh(at, mean, xerr=sd, color=np.where(worse, "#0072B2", "0.65"), error_kw={"lw": 0.9, "ecolor": "0.2"})
            ax.set_yticks(at, found.index if ax is row[0] else [""] * len(found), fontsize=8)
            ax.set_ylim(len(found) - 0.5, -0.5)
            ax.tick_params(axis="x", labelsize=7)
            ax.locator_params(axis="x", nbins=3)
            ax.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("all pairs" if share == 1 else "half of the pairs", fontsize=9)
    for ax, title in zip(axes[0], MEASURES.values(), strict=True):
        ax.set_title(title, fontsize=9)
    fig.supxlabel("difference from the default recipe (blue: worse), ± sd over splits and seeds", fontsize=8)
    fig.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, nargs="+", default=[10, 11])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, help="at most, to try it out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="all records, as JSON")
    parser.add_argument("--page", type=Path, help="folder for ablation.md, ablation.png and pairs.md")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jm.settings.n_threads, jm.settings.verbosity = given.threads, "error"
    warnings.simplefilter("ignore")
    mdata = jm.datasets.load("patchseq_motor_cortex")
    records = json.loads(given.out.read_text()) if given.out.exists() else []
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for split, seed, task in product(given.splits, given.seeds, tasks()):
        about = {"split": split, "seed": seed, **task}
        if any(about.items() <= row.items() for row in records):
            continue
        variants = VARIANTS if task["share"] == 1 else WITH_FEW_PAIRS
        changes = variants[task["variant"]] | ({"max_steps": given.steps} if given.steps else {})
        baselines = ("knn",) if task["variant"] == "default recipe" else ()
        new = record(told(mdata, task["share"], split), changes, seed, baselines)
        records += [about | row for row in new]
        given.out.write_text(json.dumps(records, indent=1))
        print(*about.values(), *(f"{value:.3f}" for value in list(new[0].values())[1:]), flush=True)
    table = pd.DataFrame(records)
    terms = "\n".join(of_terms(table, share) for share in (1.0, 0.5))
    print(terms, of_pairs(table), sep="\n")
    if given.page:
        (given.page / "ablation.md").write_text(terms)
        (given.page / "pairs.md").write_text(of_pairs(table))
        figure(table, given.page / "ablation.png")


if __name__ == "__main__":
    main()
