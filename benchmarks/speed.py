"""How fast training is, beside what the machine can do: steps a second, pairs a second, seconds to a held-out quality.

    python benchmarks/speed.py --out speed.json
    python benchmarks/speed.py --out gpu.json --device cuda --prepared 1000000 10000000 --batch-size 256 4096 65536

`limits`: matrix products in single precision and bfloat16, memory bandwidth, calls a second. `steps`: the same network
and losses, in the plain loop with batches of a `DataLoader`, Adam and a loss that is read every step, and in ours; both
against the matrix products that they need, timed alone. `pairs`: training on prepared cells, random ones, as many as
asked for. `networks`: three networks side by side against one. `quality`: SNARE-seq cortex, held-out correlation by
seconds of training. On a GPU the first four take less than six minutes.
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
from jamie.nn import JointVAE, Links, SideBySide
from jamie.train import RECIPES, Recipe, Target, fit, objective, recipe_of

WIDTHS = {"paper": 512, "default": 50}
MODALITIES = ("rna", "atac")
SECONDS = 20.0
COLUMNS = ["source", "target", "correlation"]
BLOCK = 2_048  # pairs that are contrasted with each other
LARGE = 4_096  # pairs of a batch from which a GPU multiplies in bfloat16
SECTIONS = ("limits", "steps", "pairs", "networks", "quality")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sections", nargs="+", default=SECTIONS[:4], choices=SECTIONS)
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
        "limits": lambda: limits(device),
        "steps": lambda: [steps(name, device) for name in WIDTHS],
        "pairs": lambda: [row for n in given.prepared for row in pairs(n, given.batch_size, device)],
        "networks": lambda: networks(device),
        "quality": quality,
    }
    for section in given.sections:
        results[section] = run[section]()
        given.out.write_text(json.dumps(results, indent=1))
        print(json.dumps({section: results[section]}, indent=1), flush=True)


def limits(device: torch.device) -> dict[str, Any]:
    """What bounds a step: products, memory, calls."""
    n, m = (8_192, 2**28) if device.type == "cuda" else (1_024, 2**24)
    found: dict[str, Any] = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"}
    for name, dtype in (("single precision", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        found[f"{name}, 10^12 operations/s"] = round(2e-12 * n**3 / timed(lambda a=a, b=b: a @ b, device), 2)
    x, y = (torch.empty(m, device=device) for _ in range(2))
    found["memory, GB/s"] = round(8e-9 * m / timed(lambda: y.copy_(x), device), 1)
    one = torch.zeros(1, device=device)
    found["calls/s"] = round(1_000 / timed(lambda: [one.add_(1) for _ in range(1_000)], device))
    return found


def timed(run: Callable[[], Any], device: torch.device) -> float:
    """Least seconds of ten runs."""

    def once() -> float:
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    once()
    return min(once() for _ in range(10))


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
            both = torch.arange(len(x), device=device)
            known = {MODALITIES: Links(both, both, torch.ones(len(x), device=device), (len(x), len(x)))}
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


def our_loop(
    recipe: Recipe, width: int, problem: Problem, device: torch.device, *, batch_size: int = 0, n_networks: int = 1
) -> float:
    """Seconds a step of `jamie.train.fit`, from the indices of a batch to the step of the optimiser."""
    recipe = recipe_of(recipe, batch_size=batch_size or recipe.batch_size, validation=0.0, cycles=0, step_unit="step")
    linked = LinkedCells.of(problem)
    everyone, rng = np.arange(len(linked)), np.random.default_rng(0)
    n_blocks = -(-recipe.batch_size // BLOCK) if recipe.contrastive else 1

    def drawn() -> Any:
        options: dict[str, Any] = {"size": recipe.batch_size, "n_blocks": n_blocks, "rng": rng}
        if recipe.least_paired:
            return stratified(linked, everyone, least_paired=recipe.least_paired, **options)
        return permuted(linked, everyone, **options)

    draws = zip(*(drawn() for _ in range(n_networks)), strict=True)
    load = Loader(problem, dict.fromkeys(MODALITIES, 1.0), device, least=2 if recipe.norm == "batch" else 1)
    single = [network_of(recipe, width, device) for _ in range(n_networks)]
    network = single[0] if n_networks == 1 else SideBySide(single)
    network.low_precision = device.type == "cuda" and recipe.batch_size >= LARGE
    targets = dict.fromkeys(MODALITIES, Target(1.0, None))

    def run(n: int) -> float:
        began = time.perf_counter()
        limited = recipe_of(recipe, max_steps=n, min_steps=n)
        fit(network, draws, load, targets, limited, steps_per_epoch=n, validation=None)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    run(10)  # among them those that warm up and capture
    few, many = run(20), run(60)
    n = max(60, min(5_000, int(SECONDS / 4 / max((many - few) / 40, 1e-4))))
    return (run(n) - few) / (n - 20)  # without what each training costs once


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


def pairs(n: int, batch_sizes: list[int], device: torch.device) -> list[dict[str, Any]]:
    """Training on prepared cells of the default recipe's width."""
    problem, rows = problem_of(n, WIDTHS["default"]), []
    for batch_size in batch_sizes:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = our_loop(RECIPES["default"], WIDTHS["default"], problem, device, batch_size=batch_size)
        row = {
            "prepared cells": n,
            "batch": batch_size,
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "steps/s": round(1 / seconds, 1),
            "pairs/s": round(batch_size / seconds),
        }
        if device.type == "cuda":
            row["peak memory of the card, GB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        rows.append(row)
    return rows


def networks(device: torch.device) -> list[dict[str, Any]]:
    """Steps of three networks of the default recipe, with its batch and with half of it, against steps of one."""
    problem, recipe, width = problem_of(20_000, WIDTHS["default"]), RECIPES["default"], WIDTHS["default"]
    cases = [(1, recipe.batch_size), (3, recipe.batch_size), (3, recipe.batch_size // 2)]
    best = dict.fromkeys(cases, np.inf)
    for _ in range(2):
        for n, batch_size in cases:
            seconds = our_loop(recipe, width, problem, device, batch_size=batch_size, n_networks=n)
            best[n, batch_size] = min(best[n, batch_size], seconds)
    return [
        {"networks": n, "batch of each": size, "steps/s": round(1 / t, 1), "times one": round(t / best[cases[0]], 2)}
        for (n, size), t in best.items()
    ]


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
