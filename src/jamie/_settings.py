"""Three knobs that hold for the whole session, and the package's logger."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

logger = logging.getLogger("jamie")


class _StderrHandler(logging.StreamHandler):
    """A handler that asks for `sys.stderr` at each record, so that notebooks and tests see their own."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _configure_logger() -> None:
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("jamie: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
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
        Threads that torch may use while training; if `None`, one for the small networks of the default recipe and
        torch's own choice for larger ones.

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

    @property
    def verbosity(self) -> str:
        """Least level that is logged: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``."""
        return logging.getLevelName(logger.level).lower()

    @verbosity.setter
    def verbosity(self, level: str) -> None:
        levels = ("debug", "info", "warning", "error")
        if level not in levels:
            msg = f"expected `settings.verbosity` to be one of {levels}, found {level!r}"
            raise ValueError(msg)
        logger.setLevel(level.upper())


settings = Settings()
