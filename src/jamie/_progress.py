"""A progress bar in terminals and notebooks; silence in logs and pipes."""

from __future__ import annotations

import logging
import sys

from tqdm.auto import tqdm
from tqdm.std import tqdm as terminal_bar

from jamie._settings import is_first, logger


def progress(
    total: int, *, description: str, unit: str = "step", scale: int = 1, prefixes: bool = False
) -> terminal_bar:
    """Bar over `total` steps of `scale` units; drawn in notebooks always, elsewhere only where stderr is a terminal.

    With `prefixes`, large numbers are shortened: 2.4M for 2,400,000.

    Nothing is drawn where information is not logged, as in all but the first of several processes.
    """
    in_notebook = type(sys.stdout).__module__.startswith("ipykernel")
    shown = False if in_notebook else None  # for tqdm: draw; draw in a terminal
    hidden = shown if logger.isEnabledFor(logging.INFO) and is_first() and sys.stderr is not None else True
    unit_scale = prefixes or (scale if scale > 1 else False)
    return tqdm(total=total, desc=description, unit=unit, unit_scale=unit_scale, leave=False, disable=hidden)
