"""Correspondence from geometry alone (eq. 8): UnionCom's relaxed quadratic assignment, inside its constraints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jamie._errors import InvalidValueError
from jamie._types import Array

_TRIAL_STEPS = 50  # of each start, before the best one goes on
_PATIENCE = 10  # steps over which the objective must fall
_MAX_SWEEPS = 100  # of Sinkhorn's scaling, a projection
_MAX_RATE = 1e4
_TINY = 1e-300
_ZERO = 1e-10  # objective of a perfect match
_SHARPNESS = 5.0  # of the start that goes by distances
_SPREAD = 3.0  # of the random ones


@dataclass(frozen=True)
class Solution:
    """A feasible plan F̃ and how it was reached."""

    plan: Array  # (n_x, n_y)
    alpha: float  # the best for the plan
    objective: float  # ‖α K_x − F̃ K_y F̃ᵀ‖² / ‖K_y‖²: the units of neither matrix matter
    trace: Array  # the objective before each step and after the last; it never rises
    converged: bool  # the objective stood still before the steps ran out

    @property
    def n_steps(self) -> int:
        """How many steps were taken from the start that won."""
        return len(self.trace) - 1


def unioncom(
    k_x: Array,
    k_y: Array,
    *,
    n_starts: int = 4,
    max_steps: int = 1000,
    tolerance: float = 1e-3,
    rng: np.random.Generator,
) -> Solution:
    """Match the cells of two modalities by their geodesic distances, min of ‖α K_x − F̃ K_y F̃ᵀ‖² over α and F̃.

    F̃ ≥ 0, F̃1 = 1 and F̃ᵀ1 ≤ 1 as published; where `n_x > n_y` these exclude each other, and the cap of a column is
    n_x / n_y. A step goes towards the plan that mirror descent (a gradient step on log F̃, then Sinkhorn's scaling to
    the sums of rows and columns) would take, as far as the objective falls: along a segment it is a polynomial of
    degree four once α has its best value. Both ends of the segment are feasible, so every plan on the way is.
    Mirror images of a tissue are local optima, hence several starts: one from the sorted distances of each cell, then
    random plans.

    Parameters
    ----------
    k_x, k_y
        Distances inside each modality (`n_x × n_x`, `n_y × n_y`), symmetric and finite.
    n_starts
        How many starts are tried for some steps; the best goes on.
    max_steps
        Of the start that goes on. A step costs four products of matrices of cells × cells.
    tolerance
        Share of the objective it must lose in ten steps to go on.
    rng
        Generator of the random starts.

    Raises
    ------
    ValueError
        If a matrix is not square, symmetric, finite and non-negative with a distance above 0.
    """
    scale_x, scale_y = (_require_distances(k, name) for k, name in ((k_x, "k_x"), (k_y, "k_y")))
    k_x, k_y = k_x / scale_x, k_y / scale_y
    tried = (_Descent(k_x, k_y, start) for start in _starts(k_x, k_y, n_starts, rng))  # at most two at a time
    best = min(tried, key=lambda descent: descent.run(min(_TRIAL_STEPS, max_steps), tolerance))
    best.run(max_steps, tolerance)
    alpha = best.alpha * scale_y / scale_x
    return Solution(best.f, float(alpha), float(best.trace[-1]), np.array(best.trace), best.converged)


class _Descent:
    """State of one start: F, F K_y and F K_y Fᵀ are kept from step to step."""

    def __init__(self, k_x: Array, k_y: Array, f: Array) -> None:
        self.k_x, self.k_y, self.f = k_x, k_y, f
        self.f_k = f @ k_y  # (n_x, n_y)
        self.residual, self.alpha = self._beside_k_x(self.f_k @ f.T)  # (n_x, n_x)
        self.trace = [np.vdot(self.residual, self.residual) / np.vdot(k_y, k_y)]
        self.rate, self.precision, self.dual = 1.0, 1e-2, np.zeros(len(k_y))
        self.converged = False

    def run(self, max_steps: int, tolerance: float) -> float:
        while not self.converged and len(self.trace) <= max_steps:
            moved = self._step()
            recent = self.trace[-1 - _PATIENCE :]
            slow = len(recent) > _PATIENCE and recent[0] - recent[-1] <= tolerance * recent[0]
            self.converged = slow or not moved or self.trace[-1] <= _ZERO
        return float(self.trace[-1])

    def _step(self) -> bool:
        gradient = self.residual @ self.f_k  # a quarter of it
        spread = np.std(gradient - gradient.mean(1, keepdims=True))
        log_f = np.log(np.maximum(self.f, _TINY))
        while spread > 0 and self.precision > 1e-8:
            target, self.dual = _project(log_f - self.rate / spread * gradient, self.dual * self.rate, self.precision)
            self.dual /= self.rate
            t = self._search(target)
            self.rate = min(self.rate * (1.5 if t > 0.5 else 0.7 if t < 0.2 else 1), _MAX_RATE)
            if t > 0:
                return True
            self.precision /= 10  # an inexact projection need not be downhill
        return False

    def _search(self, target: Array) -> float:
        direction = target - self.f
        d_k = direction @ self.k_y
        cross = d_k @ self.f.T
        first, alpha_1 = self._beside_k_x(cross + cross.T)
        second, alpha_2 = self._beside_k_x(d_k @ direction.T)
        terms = (self.residual, first, second)
        inner = np.array([[np.vdot(a, b) for b in terms] for a in terms])
        quartic = np.polynomial.Polynomial([np.trace(inner[::-1], offset=degree - 2) for degree in range(5)])
        roots = quartic.deriv().roots()
        t = min([0.0, 1.0, *roots.real[(roots.real > 0) & (roots.real < 1)]], key=quartic)
        residual = self.residual + t * first + t**2 * second
        value = np.vdot(residual, residual) / np.vdot(self.k_y, self.k_y)
        if not value < self.trace[-1]:
            return 0.0
        self.f, self.f_k, self.residual = (1 - t) * self.f + t * target, self.f_k + t * d_k, residual
        self.alpha += t * alpha_1 + t**2 * alpha_2
        self.trace.append(value)
        return float(t)

    def _beside_k_x(self, g: Array) -> tuple[Array, float]:
        """What the best multiple of K_x leaves of g, and that multiple."""
        alpha = np.vdot(self.k_x, g) / np.vdot(self.k_x, self.k_x)
        return g - alpha * self.k_x, float(alpha)


def _project(log_plan: Array, log_v: Array, precision: float) -> tuple[Array, Array]:
    """Nearest feasible plan in Kullback-Leibler divergence, about; its sums are exact. Also the logarithms of v."""
    n_x, n_y = log_plan.shape
    cap, most = max(1.0, n_x / n_y), 1.0 if n_x < n_y else np.inf  # a column that is not full is not scaled
    kernel = np.exp(log_plan - log_plan.max(1, keepdims=True))
    v = np.exp(log_v.clip(-600, 600))
    u = 1 / np.maximum(kernel @ v, _TINY)
    for _ in range(_MAX_SWEEPS):
        v = np.minimum(cap / np.maximum(u @ kernel, _TINY), most)
        rows = kernel @ v
        if np.abs(u * rows - 1).max() <= precision:
            break
        u = 1 / np.maximum(rows, _TINY)
    return _round(u[:, None] * kernel * v, cap), np.log(np.maximum(v, _TINY))


def _round(plan: Array, cap: float) -> Array:
    """Make the sums exact (Altschuler et al. 2017): scale down what is too much, spread what is missing."""
    plan = plan * np.minimum(1, cap / np.maximum(plan.sum(0), _TINY))
    plan /= np.maximum(plan.sum(1, keepdims=True), 1)
    missing, room = np.maximum(1 - plan.sum(1), 0), np.maximum(cap - plan.sum(0), 0)
    return plan + np.outer(missing, room / max(room.sum(), _TINY))


def _starts(k_x: Array, k_y: Array, n_starts: int, rng: np.random.Generator) -> Iterator[Array]:
    levels = np.linspace(0, 1, 33)
    profiles = [np.quantile(k / k.mean(), levels, axis=1).T for k in (k_x, k_y)]  # (n, 33)
    for i in range(n_starts):
        if i == 0:  # cells of like distances
            pairs = zip(profiles[0].T, profiles[1].T, strict=True)
            cost = sum(np.square(np.subtract.outer(x, y)) for x, y in pairs)  # (n_x, n_y)
            log_plan = -_SHARPNESS * cost / max(np.mean(cost), _TINY)
        else:
            log_plan = rng.normal(scale=_SPREAD, size=(len(k_x), len(k_y)))
        yield _project(log_plan, np.zeros(len(k_y)), 1e-6)[0]


def _require_distances(k: Array, name: str) -> float:
    square = k.ndim == 2 and k.shape[0] == k.shape[1]
    if not (square and np.isfinite(k).all() and k.min() >= 0 and k.max() > 0 and np.allclose(k, k.T)):
        found = f"values from {k.min():g} to {k.max():g}" if square and k.size else f"shape {k.shape}"
        msg = f"expected `{name}` as distances between cells, square, symmetric, finite and ≥ 0, found {found}"
        raise InvalidValueError(msg)
    return float(k.max())
