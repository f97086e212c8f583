"""Tools: train, embed, impute, match, evaluate, explain, knock out."""

from __future__ import annotations

from ._check_correspondence import check_correspondence
from ._complete import complete
from ._diagnose import diagnose
from ._embed import embed
from ._evaluate import evaluate
from ._explain import explain
from ._impute import impute
from ._knockout import knockout
from ._knockout_by_distance import knockout_by_distance
from ._links import links
from ._match import match
from ._reconstruct import reconstruct
from ._train import train
from ._transfer_labels import transfer_labels

__all__ = [
    "check_correspondence",
    "complete",
    "diagnose",
    "embed",
    "evaluate",
    "explain",
    "impute",
    "knockout",
    "knockout_by_distance",
    "links",
    "match",
    "reconstruct",
    "train",
    "transfer_labels",
]
