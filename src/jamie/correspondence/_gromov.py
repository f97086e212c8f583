"""Landmark Gromov-Wasserstein: two manifolds are laid on each other so that distances agree (eq. 8, relaxed)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jamie._threads import blas_threads
from jamie._types import Array

from ._manifold import Manifold, spread

N_LANDMARKS = 200
ANNEALING = (5e-3, 1e-3)  # entropy, as a share of the mean squared distance
N_OUTER, N_INNER = 15, 30
SAME = 0.5  # two plans that share this much of their mass are one optimum


class Placement(NamedTuple):
    """Where the nodes of two manifolds lie in common coordinates."""

    x: Array  # (m_x, 2 l) distances to the landmarks of both modalities
    y: Array  # (m_y, 2 l)


class Solution(NamedTuple):
    """Plans of all starts, best first."""

    plans: Array  # (s, l_x, l_y), each sums to 1
    objectives: Array  # (s,)
    optimum: Array  # (s,) which distinct optimum each start reached, 0 the best

    @property
    def gap(self) -> float:
        """How much worse the second-best optimum is, as a share of the best; NaN if every start reached the same."""
        others = self.objectives[self.optimum > 0]
        return float(others[0] / self.objectives[0] - 1) if len(others) else float("nan")

    @property
    def agreement(self) -> float:
        """Share of the starts that reached the best optimum."""
        return float((self.optimum == 0).mean())


class Landmarks(NamedTuple):
    """Some nodes of a manifold, what they stand for, and all nodes' distances to them."""

    share: Array  # (l,) of the cells, sums to 1
    among: Array  # (l, l) distances among them
    profile: Array  # (m, l) of every node


def landmarks(manifold: Manifold, rng: np.random.Generator) -> Landmarks:
    """Choose landmarks and measure distances from them: roots of geodesics, in units of their mean.

    The root of a metric is a metric; squared by the objective, plain geodesics let the longest decide alone.
    """
    chosen = spread(manifold.nodes, N_LANDMARKS, rng)
    profile = np.sqrt(manifold.geodesic(chosen))
    share = np.bincount(profile.argmin(1), weights=manifold.share, minlength=len(chosen)) + 1e-6
    share /= share.sum()
    profile /= share @ profile[chosen] @ share
    return Landmarks(share, profile[chosen], profile)


def solve(x: Landmarks, y: Landmarks, n_starts: int, rng: np.random.Generator) -> Solution:
    """Minimise Σ (c_x(i, k) − c_y(j, l))² T_ij T_kl over plans T between the landmarks, from many starts at once.

    Projected gradient with an entropy that is lowered in steps (Peyré, Cuturi & Solomon 2016). The problem has mirrored
    and permuted optima, so that the start decides: the independent plan, one that matches the distribution of each
    landmark's distances, and the rest that match three landmarks at random.
    """
    plans = np.stack([_start(x, y, kind, rng) for kind in range(n_starts)])
    fixed = (x.among**2 @ x.share)[:, None] + (y.among**2 @ y.share)[None, :]
    with blas_threads(1):  # products this small cost more in waiting for threads than in arithmetic
        for entropy in ANNEALING:
            for _ in range(N_OUTER):
                cost = fixed - 2 * (x.among @ plans @ y.among)
                plans = _sinkhorn(-cost / entropy, x.share, y.share, N_INNER)
    objectives = np.array([_objective(x.among, y.among, plan) for plan in plans])
    order = objectives.argsort(kind="stable")
    plans, objectives = plans[order], objectives[order]
    return Solution(plans, objectives, _distinct(plans))


def place(x: Landmarks, y: Landmarks, plan: Array) -> Placement:
    """Give the nodes of both modalities distances to the landmarks of both, carried through the plan.

    A landmark whose row of the plan underflowed, an outlier, is placed in the middle.
    """
    plan = plan + 1e-12 * x.share[:, None] * y.share
    to_x, to_y = plan / plan.sum(1, keepdims=True), plan / plan.sum(0, keepdims=True)
    weights = np.sqrt(np.concatenate([x.share, y.share]))
    return Placement(
        np.hstack([x.profile, x.profile @ to_y]) * weights,
        np.hstack([y.profile @ to_x.T, y.profile]) * weights,
    )


def _start(x: Landmarks, y: Landmarks, kind: int, rng: np.random.Generator) -> Array:
    if kind == 0:
        return x.share[:, None] * y.share
    if kind == 1:
        a, b = _quantiles(x), _quantiles(y)
        width = 0.05
    else:
        n_anchors = min(3, len(x.share), len(y.share))
        a = x.among[:, rng.choice(len(x.share), n_anchors, replace=False)]
        b = y.among[:, rng.choice(len(y.share), n_anchors, replace=False)]
        width = 0.1
    cost = np.square(a[:, None] - b[None]).sum(-1)
    return _sinkhorn(-cost[None] / (width * max(cost.mean(), 1e-12)), x.share, y.share, 50)[0]


def _quantiles(side: Landmarks) -> Array:
    """Quantiles of each landmark's distances to all cells: alike in both modalities whatever the coordinates."""
    order = side.among.argsort(axis=1)
    levels = np.linspace(0, 1, 50)
    rows = zip(side.among, order, strict=True)
    return np.stack([np.interp(levels, side.share[o].cumsum(), distances[o]) for distances, o in rows])


def _sinkhorn(log_kernel: Array, a: Array, b: Array, n_iterations: int) -> Array:
    """Scale exp(log_kernel), (s, m, n), to rows that sum to `a` and columns to `b`."""
    kernel = np.exp(log_kernel - log_kernel.max(axis=2, keepdims=True))
    u = np.ones(kernel.shape[:2])
    for _ in range(n_iterations):
        v = b / np.maximum((u[:, None, :] @ kernel)[:, 0], 1e-200)
        u = a / np.maximum((kernel @ v[:, :, None])[:, :, 0], 1e-200)
    return u[:, :, None] * kernel * v[:, None, :]


def _objective(among_x: Array, among_y: Array, plan: Array) -> float:
    a, b = plan.sum(1), plan.sum(0)
    return float(a @ among_x**2 @ a + b @ among_y**2 @ b - 2 * (plan * (among_x @ plan @ among_y)).sum())


def _distinct(plans: Array) -> Array:
    """Number the optima in order of their objective; plans that share most of their mass are one."""
    optima: list[Array] = []
    label = np.empty(len(plans), dtype=int)
    for i, plan in enumerate(plans):
        shared = [np.minimum(plan, other).sum() for other in optima]
        label[i] = int(np.argmax(shared)) if shared and max(shared) >= SAME else len(optima)
        if label[i] == len(optima):
            optima.append(plan)
    return label
