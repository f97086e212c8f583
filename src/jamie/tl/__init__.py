"""Tools: train, embed, impute, evaluate."""

from __future__ import annotations

from ._complete import complete
from ._embed import embed
from ._evaluate import evaluate
from ._impute import impute
from ._reconstruct import reconstruct
from ._train import train

__all__ = ["complete", "embed", "evaluate", "impute", "reconstruct", "train"]
