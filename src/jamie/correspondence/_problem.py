"""What is asked of an inference, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scipy import sparse

from jamie._types import Array


@dataclass(frozen=True)
class MatchingProblem:
    """What is known of two modalities, and how the result should look.

    Attributes
    ----------
    x, y
        Prepared cells, (n_x, k) and (n_y, l).
    known
        Known pairs F, (n_x, n_y); may be empty.
    linked
        Linked features of both, standardised, (n_x, f) and (n_y, f).
    n_keep
        Entries of F̃ to keep a row.
    cap
        Whether columns are capped as in eq. 8; `None`: where the method takes the composition to be equal anyway.
    n_starts
        Starts of Gromov-Wasserstein and of the dense solver.
    """

    x: Array
    y: Array
    known: sparse.csr_matrix
    linked: tuple[Array, Array] | None
    n_keep: int
    cap: bool | None = None
    n_starts: int = 16


@dataclass(frozen=True)
class MatchingResult:
    """F̃ and how it was found: plain values that can be written to `.uns`."""

    matrix: sparse.csr_matrix
    report: dict[str, Any]
