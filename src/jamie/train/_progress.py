"""A progress bar in terminals and notebooks; silence in logs and pipes."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm
from tqdm.std import tqdm as terminal_bar


def progress(total: int, *, description: str) -> terminal_bar:
    """Bar over `total` steps; drawn in notebooks always, elsewhere only where stderr is a terminal."""
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    return tqdm(total=total, desc=description, unit="step", leave=False, disable=False if in_notebook else None)
