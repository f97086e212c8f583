"""Tables and figures of what `accuracy.py` and `peers.py` recorded.

python benchmarks/accuracy_report.py benchmarks/results/*.json --out docs/benchmark
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

SIMPLE = [
    "knn", "supervised_knn", "ridge", "kernel_ridge", "supervised_kernel_ridge", "pls", "reduced_rank", "extra_trees",
    "mlp", "average",
]  # fmt: skip
PEERS = ["totalvi", "multivi", "mofa"]
NAMES = {
    "jamie": "jamie",
    "knn": "kNN",
    "supervised_knn": "supervised kNN",
    "ridge": "ridge",
    "kernel_ridge": "kernel ridge",
    "supervised_kernel_ridge": "supervised kernel",
    "pls": "PLS",
    "reduced_rank": "reduced rank",
    "extra_trees": "extra trees",
    "average": "average of simple ones",
    "mlp": "MLP",
    "jamie, paper": "paper's recipe",
    "cca": "CCA",
    "lma": "LMA",
    "nlma": "NLMA",
    "jamie, no pairs": "no pairs",
    "unioncom": "UnionCom",
    "totalvi": "totalVI",
    "multivi": "MultiVI",
    "mofa": "MOFA+",
}
SHADES = {  # simple methods are orange, aligners purple, published models grey
    "Oranges": [
        "reduced_rank",
        "pls",
        "ridge",
        "knn",
        "supervised_knn",
        "extra_trees",
        "kernel_ridge",
        "supervised_kernel_ridge",
        "average",
        "mlp",
    ],
    "Purples": ["lma", "nlma", "cca"],
    "Greys": ["mofa", "multivi", "totalvi", "unioncom"],
}
COLOURS = {"jamie": "#0072B2", "jamie, paper": "#009E73"} | {
    method: mpl.colormaps[shade](level)
    for shade, methods in SHADES.items()
    for method, level in zip(methods, np.linspace(0.3, 0.9, len(methods)), strict=True)
}
SHORT = {
    "patchseq_motor_cortex": "Patch-seq, motor cortex",
    "citeseq_pbmc10k": "CITE-seq, PBMC 10k",
    "citeseq_pbmc_mosaic": "CITE-seq, mosaic",
    "snareseq_mouse_cortex": "SNARE-seq, cortex",
    "snareseq_cellline": "SNARE-seq, cell lines",
    "scgem": "sc-GEM",
    "sim_dyngen_rna_protein": "dyngen simulation",
    "sim_rna_atac_5types": "five-type simulation",
}
ROW = ["data", "source", "target"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found = pd.DataFrame([record for path in given.results for record in json.loads(path.read_text())])
    found["section"] = found.get("section", pd.Series(index=found.index, dtype=object)).fillna("peers")
    given.out.mkdir(parents=True, exist_ok=True)
    found.to_csv(given.out / "accuracy.csv", index=False)
    held_out = found[found["section"].isin(["held-out", "paper", "peers"])]
    pages = [imputation(held_out), groups(found[found["section"] == "groups"]), kept(held_out), alignment(held_out)]
    pages += [cost(held_out), in_sample(found[found["section"] == "in-sample"])]
    pages += [partial(found[found["section"] == "partial"]), errors(found)]
    (given.out / "accuracy.md").write_text("\n\n".join(page for page in pages if page) + "\n")
    (given.out / "summary.md").write_text(summary(held_out) + "\n")
    figure(held_out).savefig(given.out / "accuracy.png", dpi=150)


def summary(found: pd.DataFrame) -> str:
    """The table of the README: ours beside the best simple method, the paper's recipe and the best peer of each row."""
    gains = compared(found)
    values = pivot(found, "correlation").loc[gains.index]
    peers = values[[m for m in PEERS if m in values]]
    table = pd.DataFrame(
        {
            "imputed": [f"{source} → {target}" for _, source, target in values.index],
            "jamie": [bold(row.jamie, row.gain > row.error) for row in gains.itertuples()],
            "best simple method": [
                f"{bold(row.simple, -row.gain > row.error)} ({NAMES[row.method]})" for row in gains.itertuples()
            ],
            "difference": [difference(row) for row in gains.itertuples()],
            "paper's recipe": [number(value) for value in values["jamie, paper"]],
            "best peer": [best(row) for _, row in peers.iterrows()],
        },
        index=values.index.get_level_values("data").rename("data"),
    )
    return markdown(table)


def compared(found: pd.DataFrame) -> pd.DataFrame:
    """For each row ours, the simple method with the highest mean, and their paired difference over splits.

    Ours is the mean over seeds in each split; the error is that of the mean difference over splits.
    """
    by_split = found.pivot_table(index=[*ROW, "split"], columns="method", values="correlation", sort=False)
    by_split = by_split[[method for method in ["jamie", *SIMPLE] if method in by_split]].dropna(subset="jamie")
    rows = {}
    for row, of_row in by_split.groupby(ROW, sort=False):
        means = of_row.mean()
        method = means.drop("jamie").idxmax()
        gains = of_row["jamie"] - of_row[method]
        rows[row] = {
            "jamie": means["jamie"], "method": method, "simple": means[method], "gain": gains.mean(),
            "error": gains.std() / np.sqrt(len(gains)), "splits": len(gains),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(ROW)


def difference(row: object) -> str:
    """A paired difference with its standard error, or that it is none."""
    shown = f"{row.gain:+.4f} ± {row.error:.4f}"
    return f"level ({shown})" if abs(row.gain) <= row.error else shown


def bold(value: float, is_bold: bool) -> str:  # noqa: FBT001 - what the name says
    return f"**{number(value)}**" if is_bold else number(value)


def best(row: pd.Series) -> str:
    return f"{number(row.max())} ({NAMES[row.idxmax()]})" if row.notna().any() else "–"


def imputation(found: pd.DataFrame) -> str:
    """Mean correlation by direction, and how the default recipe compares with the best simple method."""
    return "## Imputation: mean correlation of features on held-out cells\n\n" + correlations(found)


def groups(found: pd.DataFrame) -> str:
    """The same where whole mice or batches are held out."""
    if found.empty:
        return ""
    text = "## Held-out mice and batches\n\nMice of motor cortex, batches of the mosaic and of SNARE-seq cortex.\n\n"
    return text + correlations(found)


def correlations(found: pd.DataFrame) -> str:
    gains = compared(found)
    table = pivot(found, "correlation").loc[gains.index].map(number)
    table["jamie"] = [bold(row.jamie, row.gain > row.error) for row in gains.itertuples()]
    table["difference from the best simple method"] = [
        f"{difference(row)}, {NAMES[row.method]}" for row in gains.itertuples()
    ]
    table["splits"] = gains["splits"]
    return markdown(table)


def kept(found: pd.DataFrame) -> str:
    """Measured or not, and how much of the spread is left, of the main methods."""
    text = "## AUROC and variance preserved\n\n"
    text += "Whether a feature is there or not, by the imputed value (mean AUROC over features).\n\n"
    methods = ["jamie", "kernel_ridge", "reduced_rank", "knn", "jamie, paper"]
    auroc, ratio = (pivot(found, m) for m in ("auroc", "sd_ratio"))
    text += markdown(auroc[[m for m in methods if m in auroc]].map(number))
    text += "\n\nsd of imputed over sd of measured values, median over features: 1 keeps the spread, a mean has 0.\n\n"
    return text + markdown(ratio[[m for m in methods if m in ratio]].map(number))


def alignment(found: pd.DataFrame) -> str:
    """FOSCTTM, which has no direction, and label transfer both ways."""
    foscttm = found.pivot_table(index="data", columns="method", values="foscttm", sort=False)
    lta = pivot(found, "lta")
    text = "## Alignment on held-out cells\n\nFOSCTTM, lower is better.\n\n" + markdown(ordered(foscttm).map(number))
    return (
        text
        + "\n\nLabel transfer accuracy, learned on the target, scored on the source.\n\n"
        + markdown(lta.map(number))
    )


def cost(found: pd.DataFrame) -> str:
    seconds = found.pivot_table(index=ROW, columns="method", values="seconds", sort=False)
    memory = found.pivot_table(index=ROW, columns="method", values="peak_gb", sort=False)
    text = "## Seconds\n\n" + markdown(ordered(seconds).map(lambda v: "" if np.isnan(v) else f"{v:.1f}"))
    shown = ordered(memory)[[m for m in ("jamie", "jamie, paper", "totalvi", "multivi", "mofa") if m in memory]]
    return text + "\n\n## Peak memory, GB\n\n" + markdown(shown.map(number))


def in_sample(found: pd.DataFrame) -> str:
    if found.empty:
        return ""
    found = found.assign(labels=found["labels"].fillna("cell_type"))
    table = found.pivot_table(index=["data", "labels", "source", "method"], values=["foscttm", "lta"], sort=False)
    return "## In-sample: all cells and pairs, in training, as the paper reports integration\n\n" + markdown(
        table.map(number)
    )


def partial(found: pd.DataFrame) -> str:
    """Correlation by share of known pairs."""
    if found.empty:
        return ""
    table = found.pivot_table(index=[*ROW, "share"], columns="method", values="correlation", sort=False)
    return "## Few pairs: correlation on held-out cells by share of known pairs\n\n" + markdown(
        ordered(table).map(number)
    )


def errors(found: pd.DataFrame) -> str:
    if "error" not in found or found["error"].isna().all():
        return ""
    table = found.dropna(subset="error").drop_duplicates(["data", "method", "error"])
    return "## What did not run\n\n" + "\n".join(
        f"- {NAMES.get(row.method, row.method)}, {SHORT.get(row.data, row.data)}: {row.error}"
        for row in table.itertuples()
    )


def figure(found: pd.DataFrame) -> mpl.figure.Figure:
    """Correlation of every method as a share of the best simple one, and FOSCTTM."""
    values = pivot(found, "correlation")
    share = 100 * values.div(values[[m for m in SIMPLE if m in values]].max(axis=1), axis=0)
    foscttm = ordered(found.pivot_table(index="data", columns="method", values="foscttm", sort=False))
    foscttm = foscttm.drop(columns="jamie, no pairs", errors="ignore")  # another question
    drawn, (left, right) = plt.subplots(1, 2, figsize=(10, 5.4), width_ratios=[1.7, 1], layout="constrained")
    labels = [f"{SHORT.get(d, d)}\n{s} → {t}" for d, s, t in share.index]
    dots(left, share.clip(lower=60), labels)
    left.axvline(100, color="0.4", lw=0.8)
    left.set_xlabel("correlation on held-out cells, % of the best simple method (below 60: drawn at 60)")
    for ax in (left, right):
        ax.xaxis.label.set_size(9)
    dots(right, foscttm, [SHORT.get(d, d) for d in foscttm.index])
    right.set_xlabel("FOSCTTM on held-out cells")
    handles = dict(pair for ax in (left, right) for pair in zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    shown = [method for method in COLOURS if NAMES[method] in handles]
    shown.sort(key=list(NAMES).index)
    names = [NAMES[method] for method in shown]
    drawn.legend([handles[n] for n in names], names, loc="outside lower center", ncols=7, frameon=False, fontsize=8)
    return drawn


def dots(ax: Axes, values: pd.DataFrame, labels: list[str]) -> None:
    y = np.arange(len(values))[::-1]
    for method in values.columns[::-1]:
        ours = method == "jamie"
        ax.scatter(
            values[method], y, s=55 if ours else 26, color=COLOURS[method], zorder=3 if ours else 2,
            marker="D" if ours else "o", label=NAMES[method], edgecolor="white", linewidth=0.5,
        )  # fmt: skip
    ax.set_yticks(y, labels, fontsize=7)
    ax.grid(axis="y", color="0.92")
    ax.tick_params(axis="x", labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def pivot(found: pd.DataFrame, measure: str) -> pd.DataFrame:
    return ordered(found.pivot_table(index=ROW, columns="method", values=measure, sort=False))


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    return table[[method for method in NAMES if method in table]]


def number(value: float) -> str:
    return "" if not np.isfinite(value) else f"{value:.4f}" if abs(value) < 0.2 else f"{value:.3f}"


def markdown(table: pd.DataFrame) -> str:
    table = table.rename(columns=NAMES).reset_index()
    if "data" in table:
        table["data"] = table["data"].map(lambda name: SHORT.get(name, name))
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    main()
