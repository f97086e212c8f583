"""Ctrl-C, and SIGTERM, which batch systems send before they kill, end work in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any]


class InterruptedBy(KeyboardInterrupt):
    """Like Ctrl-C, and it says which signal came: ``"SIGINT"`` or ``"SIGTERM"``."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def signal_of(interrupt: KeyboardInterrupt) -> str:
    """Name of the signal behind an interrupt."""
    return interrupt.name if isinstance(interrupt, InterruptedBy) else "SIGINT"


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise where SIGTERM would end the process, so that what is half written is taken away; for a command.

    SIGINT raises as well where a shell has it ignored, as it does for a command that a script starts with ``&``: who
    sends one to it means it.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    with _handlers({signal.SIGTERM: _raised}), _handlers({signal.SIGINT: _raised} if ignored else {}, signal.SIG_IGN):
        yield


class Requests:
    """Signals that ask for an end, noted until it suits.

    As a context manager it notes the first SIGINT or SIGTERM, and `heed` raises it; a second one raises at once. What
    a caller has set up for a signal is left to do what it does, and is there again afterwards. Signals reach the main
    thread of Python only.
    """

    def __init__(self) -> None:
        self._name = ""
        self._installed = _handlers({signal.SIGINT: self._note, signal.SIGTERM: self._note})

    def __enter__(self) -> Requests:
        self._installed.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._installed.__exit__(None, None, None)

    @property
    def came(self) -> bool:
        """Whether a signal came."""
        return bool(self._name)

    def heed(self) -> None:
        """Raise if a signal came."""
        if self._name:
            raise InterruptedBy(self._name)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._name:
            _raised(number, None)
        self._name = signal.Signals(number).name


def _raised(number: int, _: FrameType | None) -> NoReturn:
    raise InterruptedBy(signal.Signals(number).name)


@contextmanager
def _handlers(handlers: Mapping[signal.Signals, Handler], *also: signal.Handlers) -> Iterator[None]:
    """Handle signals that would end or interrupt the process, and give the caller's handlers back."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            usual = signal.getsignal(number)
            if usual in (signal.SIG_DFL, signal.default_int_handler, _raised, *also):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
