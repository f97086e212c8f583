"""How fast training is: steps a second beside a plain loop, pairs a second by device, seconds to a held-out quality.

    python benchmarks/speed.py --out speed.json --sections steps pairs quality
    python benchmarks/speed.py --out gpu.json --sections steps pairs --device cuda --prepared 1000000 10000000

`steps`: the same network and losses, in the plain loop with batches of a `DataLoader`, Adam and a loss that is read
every step, and in ours; both against the matrix products that they need, timed alone. `pairs`: training on prepared
cells, random ones, as many as asked for. `quality`: SNARE-seq cortex, held-out correlation by seconds of training.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch.utils.data import DataLoader, TensorDataset

import jamie as jm
from jamie.data import Batch, LinkedCells, Loader, ModalityView, Problem, permuted, stratified
from jamie.nn import JointVAE
from jamie.train import RECIPES, Recipe, Target, fit, objective, recipe_of

WIDTHS = {"paper": 512, "default": 50}
MODALITIES = ("rna", "atac")
SECONDS = 20.0
COLUMNS = ["source", "target", "correlation"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sections", nargs="+", default=["steps", "pairs"], choices=["steps", "pairs", "quality"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prepared", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[256, 4_096])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    jm.settings.n_threads, jm.settings.verbosity = given.threads, "error"
    device = torch.device(given.device)
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    run: dict[str, Callable[[], Any]] = {
        "steps": lambda: [steps(name, device) for name in WIDTHS],
        "pairs": lambda: [pairs(n, size, device) for n in given.prepared for size in given.batch_size],
        "quality": quality,
    }
    for section in given.sections:
        results[section] = run[section]()
        given.out.write_text(json.dumps(results, indent=1))
        print(json.dumps({section: results[section]}, indent=1), flush=True)


def problem_of(n: int, width: int) -> Problem:
    """Cells in two modalities, all paired, that share a tenth of their components."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n, max(2, width // 10)), dtype=np.float32)
    views = {}
    for name in MODALITIES:
        mixing = rng.standard_normal((shared.shape[1], width), dtype=np.float32)
        inputs = shared @ mixing + rng.standard_normal((n, width), dtype=np.float32)
        views[name] = ModalityView(name, pd.RangeIndex(n), inputs, None, np.ones(n, dtype=bool), None)
    return Problem(views, {MODALITIES: sparse.identity(n, dtype=np.float32, format="csr")}, {})


def network_of(recipe: Recipe, width: int, device: torch.device) -> JointVAE:
    torch.manual_seed(0)
    widths = dict.fromkeys(MODALITIES, width)
    hidden = dict.fromkeys(MODALITIES, recipe.hidden_for(width))
    return JointVAE(widths, n_latent=recipe.n_latent, hidden=hidden, norm=recipe.norm, dropout=recipe.dropout).to(
        device
    )


def steps(name: str, device: torch.device) -> dict[str, Any]:
    """The two loops in turn, three times; the fastest of each, as the machine is shared."""
    recipe, width = RECIPES[name], WIDTHS[name]
    problem = problem_of(20_000, width)
    times = {way: [] for way in ("plain", "ours", "products")}
    for _ in range(3):
        times["plain"].append(plain_loop(recipe, width, problem, device))
        times["ours"].append(our_loop(recipe, width, problem, device))
        times["products"].append(products(recipe, width, device))
    best = {way: min(found) for way, found in times.items()}
    return {
        "widths of": name,
        "batch": recipe.batch_size,
        "plain steps/s": round(1 / best["plain"], 1),
        "our steps/s": round(1 / best["ours"], 1),
        "ratio": round(best["plain"] / best["ours"], 2),
        "share of the matrix-product rate": round(best["products"] / best["ours"], 2),
    }


def plain_loop(recipe: Recipe, width: int, problem: Problem, device: torch.device) -> float:
    """Seconds a step of the loop that one would write first."""
    network = network_of(recipe, width, device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    inputs = [torch.from_numpy(problem.modalities[name].inputs) for name in MODALITIES]
    batches = DataLoader(TensorDataset(*inputs), batch_size=recipe.batch_size, shuffle=True, drop_last=True)
    targets = dict.fromkeys(MODALITIES, Target(1.0, None))
    done, began, losses = 0, 0.0, []
    while True:
        for x, y in batches:
            known = {MODALITIES: torch.eye(len(x), device=device)}
            batch = Batch(dict(zip(MODALITIES, (x.to(device), y.to(device)), strict=True)), {}, known)
            outputs = network(batch.inputs, batch.known, crossed=recipe.cross > 0)
            loss = objective(outputs, batch, targets, recipe, 1.0).total
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimiser.step()
            losses.append(loss.item())
            done += 1
            if done == 5:
                began = time.perf_counter()
            if done > 10 and time.perf_counter() - began > SECONDS / 4:
                return (time.perf_counter() - began) / (done - 5)


def our_loop(recipe: Recipe, width: int, problem: Problem, device: torch.device, *, batch_size: int = 0) -> float:
    """Seconds a step of `jamie.train.fit`, from the indices of a batch to the step of the optimiser."""
    recipe = recipe_of(recipe, batch_size=batch_size or recipe.batch_size, validation=0.0, cycles=0, step_unit="step")
    units = LinkedCells.of(problem)
    everyone, rng = np.arange(len(units)), np.random.default_rng(0)
    drawn = (
        stratified(units, everyone, size=recipe.batch_size, least_paired=recipe.least_paired, rng=rng)
        if recipe.least_paired
        else permuted(units, everyone, size=recipe.batch_size, rng=rng)
    )
    load = Loader(problem, dict.fromkeys(MODALITIES, 1.0), device, least=2)
    network = network_of(recipe, width, device)
    targets = dict.fromkeys(MODALITIES, Target(1.0, None))

    def run(n: int) -> float:
        began = time.perf_counter()
        limited = recipe_of(recipe, max_steps=n, min_steps=n)
        fit(network, drawn, load, targets, limited, steps_per_epoch=n, validation=None)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    run(5)
    n = max(10, int(SECONDS / 4 / (run(10) / 10)))
    return run(n) / n


def products(recipe: Recipe, width: int, device: torch.device) -> float:
    """Seconds that the matrix products of one step take by themselves: forward, and two of the same size backward."""
    hidden, n = recipe.hidden_for(width), recipe.batch_size
    encoder = [(width, hidden[0]), *pairwise(hidden), (hidden[-1], 2 * recipe.n_latent)]
    decoder = [
        (recipe.n_latent, hidden[-1]),
        *((b, a) for a, b in pairwise(hidden)),
        (hidden[0], width),
    ]
    passes = 2 if recipe.cross else 1
    operands = [
        (torch.randn(n, a, device=device), torch.randn(a, b, device=device))
        for a, b in [*encoder, *(decoder * passes)]
        for _ in range(3 * len(MODALITIES))
    ]

    def run() -> float:
        began = time.perf_counter()
        for x, w in operands:
            x @ w
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    run()
    return min(run() for _ in range(20))


def pairs(n: int, batch_size: int, device: torch.device) -> dict[str, Any]:
    """Training on prepared cells of the default recipe's width."""
    problem = problem_of(n, WIDTHS["default"])
    seconds = our_loop(RECIPES["default"], WIDTHS["default"], problem, device, batch_size=batch_size)
    return {
        "prepared cells": n,
        "batch": batch_size,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "steps/s": round(1 / seconds, 1),
        "pairs/s": round(batch_size / seconds),
    }


def quality() -> list[dict[str, Any]]:
    """Held-out correlation on SNARE-seq cortex against the seconds of `tl.train`, from features to model."""
    found = []
    budgets: list[tuple[str, dict[str, int]]] = [("default", {"max_steps": n}) for n in (25, 50, 100, 200)]
    budgets += [("default", {}), *(("paper", {"max_steps": n}) for n in (2, 5, 10, 20))]
    for recipe, settings in budgets:
        mdata = jm.datasets.load("snareseq_mouse_cortex")
        jm.pp.split(mdata, rng=0)
        began = time.process_time()
        model = jm.tl.train(mdata, recipe=recipe, rng=0, **settings)
        seconds = time.process_time() - began
        row = {"recipe": recipe, "max_steps": settings.get("max_steps"), "cpu_seconds": round(seconds, 1)}
        table = jm.tl.evaluate(mdata, model, baselines=(), rng=0)
        row |= {f"r {source} to {target}": round(r, 4) for source, target, r in table[COLUMNS].itertuples(index=False)}
        found.append(row)
        print(row, flush=True)
    return found


if __name__ == "__main__":
    main()
