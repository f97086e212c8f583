"""Joint embedding and imputation of single-cell modalities: `import jamie as jm`."""

from __future__ import annotations

from . import datasets, get, metrics, pl, pp, tl
from ._compat import version
from ._errors import JamieError
from ._settings import settings
from .model import JAMIE
from .train import RECIPES as recipes
from .train import Recipe

__version__ = version("jamie-tools")
__all__ = [
    "JAMIE",
    "JamieError",
    "Recipe",
    "__version__",
    "datasets",
    "get",
    "metrics",
    "pl",
    "pp",
    "recipes",
    "settings",
    "tl",
]
