"""One family of errors: each says what was expected, what was found, and the call that mends it."""

from __future__ import annotations


class JamieError(Exception):
    """Anything that jamie refuses; also a :class:`ValueError`, :class:`KeyError`, :class:`TypeError` or OS error."""

    def __str__(self) -> str:
        """Give the message: a plain `KeyError` would show its repr, quotes and escapes and all."""
        return str(self.args[0]) if self.args else ""


class InvalidValueError(JamieError, ValueError):
    """An option that cannot be, or data that the call cannot work on."""


class MissingNameError(JamieError, KeyError):
    """A name that is not in the data, the model or a slot."""


class WrongTypeError(JamieError, TypeError):
    """An argument of another type."""


class MissingFileError(JamieError, FileNotFoundError):
    """A file or folder that is not there."""


class WriteError(JamieError, OSError):
    """A file or folder that cannot be written: another process writes it, it is something else, the disk is full."""


class MissingPackageError(JamieError, ImportError):
    """A package that only this call needs, and that is not installed."""


class FetchError(JamieError, OSError):
    """A public file that could not be fetched, is not the one that was published, or could not be kept."""
