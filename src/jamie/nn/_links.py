"""A sparse correspondence as lists of links."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MANY = 8
"""Links per cell from which a product with the matrix is faster than a sum over the list."""


@dataclass(frozen=True)
class Links:
    """A sparse matrix as one list for each of row, column and value.

    A batch with as many links as another has tensors of the same shapes, which is what a CUDA graph needs, and a link
    of value 0 fills a list up without a trace. Cells of several networks count on from one network to the next:
    (e, n, g) latents have e · n rows.

    Attributes
    ----------
    rows, columns
        Positions of the two cells, (l,) each.
    confidence
        F of the two, (l,).
    shape
        Rows and columns of the matrix.
    """

    rows: Tensor
    columns: Tensor
    confidence: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, matrix: Tensor) -> Links:
        """List the entries of a dense matrix that are not 0."""
        rows, columns = matrix.nonzero(as_tuple=True)
        return cls(rows, columns, matrix[rows, columns], (matrix.shape[0], matrix.shape[1]))

    @property
    def T(self) -> Links:
        """The same links with sides exchanged."""
        return Links(self.columns, self.rows, self.confidence, self.shape[::-1])

    def __matmul__(self, x: Tensor) -> Tensor:
        """F x, (..., n_columns, g) → (..., n_rows, g)."""
        if x.ndim == 2 and len(self.rows) > MANY * sum(self.shape):
            return self.to_dense() @ x
        linked = x.flatten(0, -2).index_select(0, self.columns) * self.confidence.unsqueeze(1)
        total = linked.new_zeros(self.shape[0], x.shape[-1]).index_add(0, self.rows, linked)
        return total.view(*x.shape[:-2], -1, x.shape[-1])

    def and_also(self, others: Links, share: float) -> Links:
        """F + `share` G."""
        return Links(
            torch.cat([self.rows, others.rows]),
            torch.cat([self.columns, others.columns]),
            torch.cat([self.confidence, share * others.confidence]),
            self.shape,
        )

    def scaled(self, factors: Tensor) -> Links:
        """Each row times its factor, (n_rows,)."""
        confidence = self.confidence * factors.index_select(0, self.rows)
        return Links(self.rows, self.columns, confidence, self.shape)

    def to_dense(self) -> Tensor:
        """The matrix."""
        dense = self.confidence.new_zeros(self.shape)
        return dense.index_put((self.rows, self.columns), self.confidence, accumulate=True)
