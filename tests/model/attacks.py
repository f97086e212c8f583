"""Calls in processes that can be killed, and damage to files: for the scripts beside this one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from hashlib import sha256

import numpy as np

import jamie as jm


class Child:
    """A call in a forked process; what it said at its end is what the call gave, or the type of an error."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._reads, writes = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reads)
            try:
                said = str(call())
            except BaseException as error:  # noqa: BLE001 - it is what is asked for
                said = f"{'ours' if isinstance(error, jm.JamieError) else 'foreign'}: {type(error).__name__}: {error}"
            os.write(writes, said.encode()[:4000])
            os._exit(0)
        os.close(writes)

    def killed_after(self, seconds: float) -> bool:
        """Kill it after a while, if it has not ended by itself."""
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGKILL)
        return not self.said()

    def said(self) -> str:
        """Wait for its end; of one that was killed it is nothing."""
        said = b"".join(iter(lambda: os.read(self._reads, 4096), b""))
        os.close(self._reads)
        os.waitpid(self.pid, 0)
        return said.decode()


def damaged_bytes(raw: bytes, change: Callable[[dict, np.random.Generator], None], rng: np.random.Generator) -> bytes:
    """Bytes that were cut, flipped, zeroed, exchanged or added; or with another header, and the digest of that."""
    data, kind = bytearray(raw), rng.integers(6)
    at = int(rng.integers(len(data))) if rng.random() < 0.5 else int(rng.integers(min(4096, len(data))))
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        data[at : at + 512] = bytes(len(data[at : at + 512]))
    elif kind == 3:
        data[at : at + 64] = rng.bytes(len(data[at : at + 64]))
    elif kind == 4:
        data[at:at] = rng.bytes(int(rng.integers(1, 50)))
    else:
        return _resealed(raw, change, rng)
    return bytes(data)


def _resealed(raw: bytes, change: Callable[[dict, np.random.Generator], None], rng: np.random.Generator) -> bytes:
    """A file as somebody writes it on purpose."""
    length = int.from_bytes(raw[:8], "little")
    outer = json.loads(raw[8 : 8 + length])
    header = json.loads(outer["__metadata__"]["jamie"])
    change(header, rng)
    header["sha256"] = "0" * 64
    outer["__metadata__"]["jamie"] = json.dumps(header)
    head = json.dumps(outer).encode()
    head += b" " * (-len(head) % 8)
    data = bytearray(len(head).to_bytes(8, "little") + head + raw[8 + length :])
    place = data.index(b"0" * 64)
    data[place : place + 64] = sha256(data).hexdigest().encode()
    return bytes(data)
