"""Whether a decoder with the likelihood of counts would impute better than components with a Gaussian one.

The same components of the target, predicted by the supervised kernel regression for cells that it did not see, are
taken to the features in three ways: by the loadings, as the default recipe does; by a Gaussian readout that is learned
of them on all features; and by one with the likelihood of the values, negative binomial with the depth of the cell for
counts, Bernoulli for accessibility. Scores are of held-out cells: correlation and AUROC of what is imputed, and the
log-likelihood of what was measured, with a dispersion of each feature that is learned on training cells.

`python benchmarks/likelihoods.py --sets citeseq_pbmc_mosaic --splits 10 11 --out likelihoods.json` runs one set.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from scipy.special import gammaln
from sklearn.model_selection import KFold

import jamie as jm
from jamie.baselines import Components, predict
from jamie.metrics import feature_auroc, feature_correlation

SETS = {
    "patchseq_motor_cortex": [("ephys", "rna")],
    "citeseq_pbmc_mosaic": [("protein", "rna")],
    "citeseq_pbmc10k": [("protein", "rna"), ("rna", "protein")],
    "snareseq_mouse_cortex": [("rna", "atac"), ("atac", "rna")],
}
MOST_FEATURES = 500
STEPS = 600
DECAYS = (1e-3, 1e-2, 0.1, 1.0)
LEAST = 1e-4


def main() -> None:
    """Run the sets that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--splits", nargs="+", type=int, default=[10, 11])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in given.sets:
        for split in given.splits:
            for source, target in SETS[name]:
                for scores in study(name, split, source, target):
                    rows.append({"set": name, "split": split, "source": source, "target": target, **scores})
                    print(rows[-1], flush=True)
    given.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def study(name: str, split: int, source: str, target: str) -> list[dict[str, object]]:
    """Score the three readouts of one direction."""
    mdata = getattr(jm.datasets, name)()
    jm.pp.split(mdata, rng=split)
    model = jm.tl.train(mdata, max_steps=1, rng=0)  # for its preparation alone
    cells, preparation = model.open(mdata), model.preparations_[target]
    pairs, d = cells.pairs(source, target), len(preparation.features)
    columns = np.sort(np.random.default_rng(split).choice(d, min(d, MOST_FEATURES), replace=False))
    whole = [dense(cells.matrix(target)[rows]) for rows in (pairs.train[1], pairs.test[1])]
    sizes = [x.sum(axis=1) for x in whole]
    depth, values = float(np.median(sizes[0])), [x[:, columns] for x in whole]
    measured = [cells.measured(target, rows, columns) for rows in (pairs.train[1], pairs.test[1])]

    x, y = cells.inputs(source), cells.inputs(target)[pairs.train[1]]
    x, x_test = x[pairs.train[0]], x[pairs.test[0]]
    left_out = np.zeros_like(y)
    for rest, fold in KFold(5, shuffle=True, random_state=0).split(x):
        left_out[fold] = components_of(x[rest], y[rest], x[fold])
    of_new = components_of(x, y, x_test)

    is_open = preparation.kind == "accessibility"
    matrix, offset = preparation.readout(columns)
    likelihood = readout(left_out, values[0], sizes[0] / depth, of_new, is_open=is_open)
    imputed = {
        "components": (left_out @ matrix.T + offset, of_new @ matrix.T + offset),
        "gaussian": ridge(left_out, measured[0], of_new),
        "likelihood": likelihood if is_open else tuple(map(np.log1p, likelihood)),
    }
    return [
        {
            "readout": method,
            "correlation": float(np.nanmean(feature_correlation(np.asarray(measured[1]), test))),
            "auroc": float(np.nanmean(feature_auroc(values[1] > 0, test))) if is_open else None,
            "log_likelihood": log_bernoulli(values[1], test)
            if is_open
            else log_counts(values, (train, test), [size / depth for size in sizes]),
        }
        for method, (train, test) in imputed.items()
    ]


def components_of(x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Components by the supervised kernel regression."""
    components = Components(y, np.eye(y.shape[1]))
    return predict("supervised_kernel_ridge", x, y, x_test, components=components, rng=0)


def ridge(x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian readout of all features: of training cells, each from others, and of test cells."""
    train = np.zeros(y.shape)
    for rest, fold in KFold(5, shuffle=True, random_state=1).split(x):
        train[fold] = predict("ridge", x[rest], y[rest], x[fold], rng=0)
    return train, predict("ridge", x, y, x_test, rng=0)


def readout(
    x: np.ndarray, y: np.ndarray, size: np.ndarray, x_test: np.ndarray, *, is_open: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Linear readout by the likelihood of the values, with the decay that suits a fifth of the cells best."""
    unit = x.std(0)
    data = [torch.tensor(part, dtype=torch.float32) for part in (x / unit, (y > 0) if is_open else y, size)]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    rest, fold = order[len(order) // 5 :], order[: len(order) // 5]
    errors = []
    for decay in DECAYS:
        learned = fit([part[rest] for part in data], decay, is_open=is_open)
        errors.append(float(loss(learned, [part[fold] for part in data], is_open=is_open)))
    weight, offset, _ = fit(data, DECAYS[int(np.argmin(errors))], is_open=is_open)
    link = torch.sigmoid if is_open else torch.exp
    of_test = torch.tensor(x_test / unit, dtype=torch.float32)
    train, test = (link(part @ weight + offset).numpy() for part in (data[0], of_test))
    return train, test


def fit(data: list[torch.Tensor], decay: float, *, is_open: bool) -> list[torch.Tensor]:
    """Weights, offset and log dispersion of each feature."""
    x, y, size = data
    mean = y.mean(0).clamp(LEAST, 1 - LEAST) if is_open else (y.sum(0) / size.sum()).clamp(LEAST)
    start = torch.logit(mean) if is_open else mean.log()
    learned = [torch.zeros(x.shape[1], y.shape[1]), start, torch.zeros(y.shape[1])]
    for part in learned:
        part.requires_grad_()
    optimiser = torch.optim.Adam(learned, lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    draw = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = torch.randint(len(x), (min(512, len(x)),), generator=draw)
        optimiser.zero_grad()
        penalty = decay * learned[0].square().sum(0).mean()
        (loss(learned, [part[rows] for part in data], is_open=is_open) + penalty).backward()
        optimiser.step()
        schedule.step()
    return [part.detach() for part in learned]


def loss(learned: list[torch.Tensor], data: list[torch.Tensor], *, is_open: bool) -> torch.Tensor:
    """Mean negative log-likelihood."""
    (weight, offset, dispersion), (x, y, size) = learned, data
    score = x @ weight + offset
    if is_open:
        return torch.nn.functional.binary_cross_entropy_with_logits(score, y)
    mean, r = torch.exp(score.clamp(max=12)) * size[:, None], dispersion.clamp(-5, 7).exp()
    terms = torch.lgamma(y + r) - torch.lgamma(r) - torch.lgamma(y + 1)
    terms = terms + r * (r.log() - (r + mean).log()) + y * ((mean + 1e-8).log() - (r + mean).log())
    return -terms.mean()


def log_bernoulli(y: np.ndarray, probability: np.ndarray) -> float:
    """Mean log-likelihood of what is open."""
    p = probability.clip(LEAST, 1 - LEAST)
    return float(np.where(y > 0, np.log(p), np.log1p(-p)).mean())


def log_counts(values: list[np.ndarray], imputed: tuple[np.ndarray, np.ndarray], sizes: list[np.ndarray]) -> float:
    """Mean log-likelihood of test counts; a mean of logarithms is first set to the mean of the training counts."""
    train, test = (np.expm1(x).clip(1e-3) * size[:, None] for x, size in zip(imputed, sizes, strict=True))
    level = (values[0].sum(0) / train.sum(0)).clip(0.1, 10)
    grid = np.geomspace(0.05, 500, 30)
    of_train = np.stack([negative_binomial(values[0], train * level, r).mean(0) for r in grid])
    return float(negative_binomial(values[1], test * level, grid[of_train.argmax(0)]).mean())


def negative_binomial(y: np.ndarray, mean: np.ndarray, r: np.ndarray | float) -> np.ndarray:
    """Log-likelihood of counts with dispersion r."""
    mean = mean.clip(1e-6)
    return gammaln(y + r) - gammaln(r) - gammaln(y + 1) + r * np.log(r / (r + mean)) + y * np.log(mean / (r + mean))


def dense(x: object) -> np.ndarray:
    """A dense array."""
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


if __name__ == "__main__":
    main()
