"""Show a Returns section as it is written: a sentence, then the slots that are set as a definition list.

Napoleon alone reads each line that is not indented as the type of one returned value.
"""

from __future__ import annotations

from sphinx.ext.napoleon.docstring import NumpyDocstring


def _as_written(self: NumpyDocstring, section: str) -> list[str]:
    lines = self._dedent(self._consume_to_next_section())
    if lines and lines[0] == ":":  # put there by sphinx-autodoc-typehints
        del lines[0]
    block = self._format_block(":returns: ", lines)
    return [*block, ""] if block and block[-1] else block


def setup(app) -> dict[str, bool]:
    NumpyDocstring._parse_returns_section = _as_written
    return {"parallel_read_safe": True}
