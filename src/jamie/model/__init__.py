"""The estimator that holds what was learned."""

from __future__ import annotations

from ._jamie import JAMIE
from ._summary import announce

__all__ = ["JAMIE", "announce"]
