"""Four knobs that hold for the whole session, and the package's logger."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass

from jamie._errors import InvalidValueError

logger = logging.getLogger("jamie")


def is_first() -> bool:
    """Whether this process speaks and writes: the only one, or the first of those that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


class _StderrHandler(logging.StreamHandler):
    """A handler that asks for `sys.stderr` at each record, so that notebooks and tests see their own."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _configure_logger() -> None:
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("jamie: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if is_first() else logging.ERROR)
    logger.propagate = False


_configure_logger()


@dataclass
class Settings:
    """Session-wide settings, read when a function is called.

    Attributes
    ----------
    device
        Used where a function gets ``device="auto"``: ``"auto"`` takes CUDA where there is one, else the CPU.
    n_threads
        Threads that may be used. If `None`, up to four read and prepare; one trains the small networks of the default
        recipe, and as many as torch chooses train larger ones.
    memory_gb
        Working memory in GB that reading, preparing and writing aim at, in blocks of cells: what is larger is read
        again from where it lies.

    Examples
    --------
    >>> import jamie as jm
    >>> jm.settings.verbosity = "warning"  # no line for each slot written
    >>> jm.settings.verbosity
    'warning'
    >>> jm.settings.verbosity = "info"
    """

    device: str = "auto"
    n_threads: int | None = None
    memory_gb: float = 4.0

    @property
    def verbosity(self) -> str:
        """Least level that is logged: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``."""
        return logging.getLevelName(logger.level).lower()

    @verbosity.setter
    def verbosity(self, level: str) -> None:
        levels = ("debug", "info", "warning", "error")
        if level not in levels:
            msg = f"expected `settings.verbosity` to be one of {levels}, found {level!r}"
            raise InvalidValueError(msg)
        logger.setLevel(level.upper())


settings = Settings()
