"""What holds for the whole session, checked when it is set, and the package's logger."""

from __future__ import annotations

import logging
import math
import os
import sys
from dataclasses import dataclass
from typing import Any

from jamie._checks import is_number, is_whole, require_option, typed
from jamie._errors import InvalidValueError, WrongTypeError

logger = logging.getLogger("jamie")


_rank_of_group = 0


def is_first() -> bool:
    """Whether this process speaks and writes: the only one, or the first of those that train together.

    They do in a process group, and stay together after it; and if `torchrun` started them. `RANK` alone says nothing:
    batch systems and notebooks leave it to whatever is started in them.
    """
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    if "TORCHELASTIC_RUN_ID" in os.environ and world_size() > 1:
        return os.environ.get("RANK") == "0"
    return _rank_of_group == 0


def note_rank(rank: int) -> None:
    """Remember which of the processes that train together this one is."""
    global _rank_of_group
    _rank_of_group = rank


def world_size() -> int:
    """How many processes were started to train together, if any were."""
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdigit() or int(text) < 1:
        msg = f"expected the environment variable WORLD_SIZE to be a whole number from 1 up, found {text!r}; unset it"
        raise InvalidValueError(msg)
    return int(text)


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
    logger.addFilter(lambda record: record.levelno >= logging.ERROR or is_first())
    logger.propagate = False


_configure_logger()


LEVELS = ("debug", "info", "warning", "error")


@dataclass
class Settings:
    """Session-wide settings, checked when they are set and read when a function is called.

    Attributes
    ----------
    device
        Used where a function gets ``device="auto"``: text or a :class:`torch.device`. ``"auto"`` takes CUDA where there
        is one, else the CPU.
    n_threads
        Threads that may be used. If `None`, up to four read and prepare; one trains the small networks of the default
        recipe, and as many as torch chooses train larger ones.
    memory_gb
        Working memory in GB that reading, preparing and writing aim at, in blocks of cells: what is larger is read
        again from where it lies.
    compile
        Whether :func:`torch.compile` compiles training. That takes most of a minute for each shape of a batch, and
        pays in long trainings on a GPU; on a CPU steps are no faster, and it needs a compiler of C++. Chance is drawn
        otherwise than without it.

    Examples
    --------
    >>> import jamie as jm
    >>> jm.settings.verbosity = "warning"  # no line for each slot written
    >>> jm.settings.verbosity
    'warning'
    >>> jm.settings.verbosity = "info"
    >>> jm.settings.memory = 8
    Traceback (most recent call last):
        ...
    jamie._errors.InvalidValueError: ... found 'memory'; did you mean 'memory_gb'?
    """

    device: str = "auto"
    n_threads: int | None = None
    memory_gb: float = 4.0
    compile: bool = False

    def __setattr__(self, name: str, value: Any) -> None:
        """Check the setting before it is kept; a misspelt one is no setting."""
        require_option(name, list(_CHECKS), name="name of a setting")
        object.__setattr__(self, name, _CHECKS[name](value))

    @property
    def verbosity(self) -> str:
        """Least level that is logged: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``."""
        return logging.getLevelName(logger.level).lower()

    @verbosity.setter
    def verbosity(self, level: str) -> None:
        logger.setLevel(level.upper())


def require_device(device: Any, *, name: str) -> str:
    """Return ``"auto"`` or a device that this machine has, by torch's name for it."""
    import torch  # here, for nothing else of the settings needs it

    if not isinstance(device, str | torch.device):
        remedy = f"cuda:{device}" if is_whole(device) and device >= 0 else "auto"
        msg = f"expected `{name}` to be text or a torch.device, found {typed(device)}; pass {name}={remedy!r}"
        raise WrongTypeError(msg)
    if device == "auto":
        return "auto"
    counts = _devices()
    here = ["auto", "cpu", *(f"{kind}:{i}" for kind, count in counts.items() for i in range(count) if kind != "cpu")]
    try:
        asked = torch.device(device)
    except RuntimeError:
        asked = None
    if asked is None or (asked.index or 0) >= counts.get(asked.type, 0):
        msg = f"expected `{name}` to be one of what this machine has, {here}, found {str(device)!r}; pass {name}='auto'"
        raise InvalidValueError(msg)
    return "cpu" if asked.type == "cpu" else str(asked)


def _devices() -> dict[str, int]:
    """How many devices of each type this machine has."""
    import torch

    return {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "xpu": torch.xpu.device_count() if torch.xpu.is_available() else 0,
    }


def _n_threads(value: Any) -> int | None:
    if value is None:
        return None
    if not is_whole(value):
        msg = f"expected `settings.n_threads` to be a whole number or None, found {typed(value)}"
        raise WrongTypeError(msg)
    if value < 1:
        msg = f"expected `settings.n_threads` of at least 1, found {value}; None lets jamie choose"
        raise InvalidValueError(msg)
    return int(value)


def _memory_gb(value: Any) -> float:
    if not is_number(value):
        msg = f"expected `settings.memory_gb` to be a number, found {typed(value)}; pass e.g. 4.0"
        raise WrongTypeError(msg)
    if not 0 < value < math.inf:
        msg = f"expected a finite `settings.memory_gb` above 0, found {value}; pass e.g. 4.0"
        raise InvalidValueError(msg)
    return float(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        msg = f"expected `settings.compile` to be True or False, found {typed(value)}; pass True or False"
        raise WrongTypeError(msg)
    return value


_CHECKS = {
    "device": lambda value: require_device(value, name="settings.device"),
    "n_threads": _n_threads,
    "memory_gb": _memory_gb,
    "compile": _switch,
    "verbosity": lambda value: require_option(value, LEVELS, name="settings.verbosity"),
}

settings = Settings()
