"""The estimator that holds what was learned."""

from __future__ import annotations

from ._explain import Cells, Head, contributions, feature_head
from ._jamie import JAMIE
from ._summary import announce

__all__ = ["JAMIE", "Cells", "Head", "announce", "contributions", "feature_head"]
